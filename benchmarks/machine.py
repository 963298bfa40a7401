"""What a table is measured on, and how fast that is at matrix products."""

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turns import take_turns

from genjax.files import replacing

SIZE = 2048


def describe() -> dict[str, str | int]:
    """The processor, its cores and the versions that matter."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for package in ("jax", "flax", "optax", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": (names or [platform.processor() or platform.machine()])[0],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
    }


def in_words(machine: dict[str, str | int]) -> str:
    """One line of what `describe` found."""
    versions = ", ".join(f"{name} {machine[name]}" for name in list(machine)[2:])
    return f"{machine['processor']}, {machine['cores']} cores; {versions}"


def matmul_rates(rounds: int) -> dict[str, float]:
    """float32 operations a second of a matrix product in XLA and in PyTorch, in turns."""
    contenders = {"XLA": (_xla, (), {}), "PyTorch": (_pytorch, (), {})}
    timings = take_turns(contenders, rounds)
    return {name: 10 * 2 * SIZE**3 / timing.median for name, timing in timings.items()}


def _xla(end_of_round: Callable[[], None]) -> None:
    import jax

    matrix = jax.random.normal(jax.random.key(0), (SIZE, SIZE))
    product = jax.jit(lambda a, b: a @ b)
    while True:
        for _ in range(10):
            product(matrix, matrix).block_until_ready()
        end_of_round()


def _pytorch(end_of_round: Callable[[], None]) -> None:
    import torch

    matrix = torch.randn(SIZE, SIZE)
    while True:
        for _ in range(10):
            matrix @ matrix
        end_of_round()


def seconds_until(done: Callable[[], bool], start: float) -> float:
    """Seconds from `start` (time.perf_counter) until `done`."""
    while not done():
        time.sleep(0.01)
    return time.perf_counter() - start


def write(out: str, results: Any, text: str) -> None:
    """Writes a benchmark's results as `out`.json and its tables as `out`.md, and prints those."""
    texts = {".json": json.dumps(results, indent=1) + "\n", ".md": text}
    for suffix, content in texts.items():
        with replacing(Path(f"{out}{suffix}")) as file:
            file.write_text(content)
    print(f"\n{text}\n{out}.md, {out}.json")
