"""The plan: which examples make up which step, as a pure function of the seed and the step."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int32


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    # The raw stream of Philox is fixed by its specification; that of `Generator.permutation` may
    # change between versions of NumPy, and a resumed run would change its order with it.
    draws = np.random.Philox(key=[seed, epoch]).random_raw(num_examples)
    permutation = np.argsort(draws, kind="stable").astype(np.int32)
    permutation.setflags(write=False)
    return permutation


@dataclasses.dataclass(frozen=True)
class Plan:
    """An endless row of examples, one permutation of them all for each epoch, cut into steps.

    Nothing is dropped at the end of an epoch: a step may hold the last rows of one and the first
    of the next, or, where the set is smaller than a step, several epochs. Nothing needs to be saved
    to resume, and nothing depends on the number of devices.

    Attributes:
      seed: of the permutations; not negative.
      num_examples: the size of the set.
      rows_per_step: examples in a step, over all devices.
    """

    seed: int
    num_examples: int
    rows_per_step: int

    def indices(
        self, step: int, num_steps: int = 1
    ) -> Int32[np.ndarray, "{num_steps} {self.rows_per_step}"]:
        """The examples of `num_steps` steps from `step` on."""
        first, end = step * self.rows_per_step, (step + num_steps) * self.rows_per_step
        parts = []
        for epoch in range(first // self.num_examples, -(-end // self.num_examples)):
            start = epoch * self.num_examples
            permutation = _permutation(self.seed, epoch, self.num_examples)
            parts.append(permutation[max(first - start, 0) : end - start])
        return np.concatenate(parts).reshape(num_steps, self.rows_per_step)
