"""Readers: bring the planned examples to the compiled step, all held there or streamed to it."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from genjax.data.base import Source
from genjax.data.plan import Plan
from genjax.data.reading import read
from genjax.types import Batch

T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass(frozen=True)
class Resident:
    """Keeps the whole set on the device as uint8; a block carries the numbers of its rows only.

    For sets of the size of MNIST or CIFAR.

    Attributes:
      source: the set.
      plan: of whole steps.
      rows: those of each step that this process takes.
    """

    source: Source
    plan: Plan
    rows: slice = dataclasses.field(default_factory=lambda: slice(None))

    @functools.cached_property
    def store(self) -> dict[str, np.ndarray]:
        """`image` uint8 [N, H, W, C] and, with labels, `label` int32 [N]: read once."""
        return read(self.source, np.arange(len(self.source)))

    def blocks(
        self, start_step: int, num_blocks: int, steps_per_block: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """`num_blocks` blocks of steps, `start_step` first.

        Yields:
          `{"index": int32 [steps_per_block, rows]}`.
        """
        for block in range(num_blocks):
            step = start_step + block * steps_per_block
            yield {"index": self.plan.indices(step, steps_per_block)[:, self.rows]}

    @staticmethod
    def fetch(store: Batch, block_row: Batch) -> Batch:
        """The batch of one step, inside the compiled step: the rows of `store` at `index`.

        Returns:
          `image` uint8 [rows, H, W, C], with labels `label` int32 [rows], and `index` itself.
        """
        index = block_row["index"]
        return {**{name: values[index] for name, values in store.items()}, "index": index}


@dataclasses.dataclass(frozen=True)
class Stream:
    """Reads the examples as they are needed, ahead of use and in threads, with Grain.

    For sets that do not fit on the device. Each of `num_threads` threads reads a whole step; one
    block of steps, or one step for each thread, is read ahead.

    Attributes:
      source: the set.
      plan: of whole steps.
      rows: those of each step that this process takes; no others are read.
      num_threads: that read.
    """

    source: Source
    plan: Plan
    rows: slice = dataclasses.field(default_factory=lambda: slice(None))
    num_threads: int = 8

    @property
    def store(self) -> dict[str, np.ndarray]:
        """Empty: nothing stays on the device."""
        return {}

    def blocks(
        self, start_step: int, num_blocks: int, steps_per_block: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """`num_blocks` blocks of steps, `start_step` first; no earlier example is read.

        Yields:
          `image` uint8 [steps_per_block, rows, H, W, C], with labels `label` int32
          [steps_per_block, rows], and `index` of that shape.
        """

        def batch(step: int) -> dict[str, np.ndarray]:
            index = self.plan.indices(step)[0, self.rows]
            return {**read(self.source, index, num_threads=1), "index": index}

        import grain  # takes a tenth of a second, and the resident reader needs none

        steps = grain.MapDataset.range(start_step, start_step + num_blocks * steps_per_block)
        options = grain.ReadOptions(self.num_threads, max(self.num_threads, steps_per_block))
        yield from steps.map(batch).to_iter_dataset(options).batch(steps_per_block)

    @staticmethod
    def fetch(store: Batch, block_row: Batch) -> Batch:
        """The batch of one step, inside the compiled step: `block_row` as it came."""
        del store
        return block_row


#: The readers that a config may name.
READERS = {"resident": Resident, "stream": Stream}


def prefetch(iterator: Iterable[T], place: Callable[[T], U], depth: int = 2) -> Iterator[U]:
    """The items of `iterator` after `place`, which is called `depth` items ahead of use.

    With `place` a transfer to the device, which returns before it is done, the transfer overlaps
    the computation.
    """
    placed = map(place, iterator)
    ahead = collections.deque(itertools.islice(placed, depth))
    while ahead:
        item = ahead.popleft()
        ahead.extend(itertools.islice(placed, 1))
        yield item


def evaluation_batches(source: Source, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Every example of `source` once, in order, all batches of one shape.

    Yields:
      `image` uint8 [batch_size, H, W, C], with labels `label` int32 [batch_size], `index` int32
      [batch_size] and `mask` float32 [batch_size]: 1 for an example, 0 for the rows that fill up
      the last batch. Those are zeros, and their numbers go on counting from `len(source)`.
    """
    for start in range(0, len(source), batch_size):
        index = np.arange(start, start + batch_size, dtype=np.int32)
        real = index < len(source)
        batch = {}
        for name, values in read(source, index[real]).items():
            batch[name] = np.zeros((batch_size, *values.shape[1:]), values.dtype)
            batch[name][real] = values
        yield {**batch, "index": index, "mask": real.astype(np.float32)}


def mean_image(source: Source, batch_size: int) -> np.ndarray:
    """The mean of all images, float64 [H, W, C] in [0, 1], of which `batch_size` are read at once.

    Summed as integers: the same in batches of any size.
    """
    batches = evaluation_batches(source, batch_size)  # its filling rows are zeros
    return sum(batch["image"].sum(0, dtype=np.int64) for batch in batches) / (255 * len(source))
