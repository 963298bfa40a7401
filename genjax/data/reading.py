"""Reading several examples at once, or a whole source once, kept for the next start."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import zipfile
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

import genjax
from genjax.data.base import Example, InMemory, Source
from genjax.files import replacing

#: Small images decode faster than a task is handed to a thread, so a task is several of them.
ROWS_PER_TASK = 64

#: What NumPy raises over a file that is missing, empty, cut short or of another kind.
UNREADABLE = (OSError, EOFError, ValueError, zipfile.BadZipFile)


def read(source: Source, indices: np.ndarray, num_threads: int | None = None) -> Example:
    """The examples `indices` (int [n]) of `source`, stacked in that order: decoded in threads.

    A source may have `__getitems__(indices) -> list of examples`, where reading several at once is
    faster than one by one, or a `read(indices, num_threads)` of its own.

    Returns:
      `image` uint8 [n, H, W, C] and, for a source with classes, `label` int32 [n]; from one of
      pairs `condition` uint8 [n, H, W, C], too.
    """
    if isinstance(source, InMemory | Decoded):
        return source[indices]
    if hasattr(source, "read"):  # it is made of sources, which have ways of their own
        return source.read(indices, num_threads)
    read_several = getattr(source, "__getitems__", lambda rows: [source[row] for row in rows])
    batch = {"image": np.empty((len(indices), *source.image_shape), np.uint8)}
    if source.class_names:
        batch["label"] = np.empty(len(indices), np.int32)

    def fill(start: int) -> None:
        rows = indices[start : start + ROWS_PER_TASK].tolist()
        for row, example in enumerate(read_several(rows), start):
            for name, values in batch.items():
                values[row] = example[name]

    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        list(pool.map(fill, range(0, len(indices), ROWS_PER_TASK)))
    return batch


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
    """All examples of `source`, decoded when the first of them is asked for.

    Example `index` may be several, as an array. They are kept in the folder of JAX's compilation
    cache, where there is one, under a hash of `source.fingerprint`: a change of the files that it
    names decodes them again.
    """

    source: Source

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.source.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes; empty without labels."""
        return self.source.class_names

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int | np.ndarray) -> Example:
        return {name: values[index] for name, values in self._examples.items()}

    @functools.cached_property
    def _examples(self) -> dict[str, np.ndarray]:
        everything = functools.partial(read, self.source, np.arange(len(self.source)))
        folder = jax.config.jax_compilation_cache_dir
        if not folder or "://" in folder:  # a bucket may hold what is compiled
            return everything()
        name = hashlib.sha256(os.fsencode(f"{genjax.__version__} {self.source.fingerprint}"))
        file = pathlib.Path(folder) / "pictures" / f"{name.hexdigest()}.npz"
        # A file cut short or lost is decoded again; a folder that takes none is no reason to stop.
        with contextlib.suppress(*UNREADABLE), np.load(file) as kept:
            return dict(kept)
        examples = everything()
        with contextlib.suppress(OSError), replacing(file) as part, part.open("wb") as new:
            np.savez(new, **examples)
        return examples


def decoded_once(source: Source) -> Source:
    """`Decoded` of a source that decodes, which has a `fingerprint`; any other as it is."""
    return Decoded(source) if hasattr(source, "fingerprint") else source
