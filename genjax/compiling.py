"""How XLA compiles training steps and networks well."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax

#: XLA's options by platform.
OPTIONS = {
    "cpu": {
        # Only single matrix products gain by YNNPACK: its convolutions took up to 4 times as long
        # as Eigen's, its reductions up to 10 times.
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
        # Convolutions that run beside one another each want all cores.
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    },
}
UNKNOWN_OPTION = re.compile("No such compile option|While setting option")


@functools.cache
def compiler_options(platform: str) -> dict[str, str] | None:
    """`OPTIONS`, for `jax.jit` or a lowered program's `compile`; None where XLA knows them not."""
    options = OPTIONS.get(platform)
    try:
        jax.jit(lambda x: x).lower(0.0).compile(options)
    except jax.errors.JaxRuntimeError as error:
        if not UNKNOWN_OPTION.search(str(error)):
            raise
        return None
    return options


def jit(**options: Any) -> Callable[[Callable], Callable]:
    """`jax.jit`, with `options`, compiled as `compiler_options` has it; a decorator.

    XLA is asked at the first call only, since that starts JAX's devices, and what imports genjax
    may have to choose them first.
    """

    def decorate(function: Callable) -> Callable:
        @functools.cache
        def compiled() -> Callable:
            found = compiler_options(jax.default_backend())
            return jax.jit(function, compiler_options=found, **options)

        return functools.wraps(function)(lambda *args, **kwargs: compiled()(*args, **kwargs))

    return decorate
