import numpy as np
import pytest

from genjax.errors import UserError
from genjax.metrics.distribution import Moments
from genjax.metrics.latents import active_units

# Variances 1, 0.04, 0.0025 and 0; a constant mean away from 0 is inactive all the same.
MEANS = np.random.default_rng(0).normal(size=(500, 4)) * [1, 0.2, 0.05, 0] + [0, 0, 0, 5]


def test_counts_the_dimensions_that_follow_the_data():
    assert active_units(MEANS) == 2
    assert active_units(MEANS, threshold=1e-3) == 3


def test_is_the_same_in_batches():
    moments = Moments.empty(4)
    for batch in np.split(MEANS, 5):
        moments = moments.add(batch)
    assert active_units(moments) == 2


def test_one_example_shows_nothing():
    with pytest.raises(UserError):
        active_units(MEANS[:1])
