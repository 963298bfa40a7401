"""What PyTorch gave for the networks with given weights."""

import numpy as np
import pytest

from experiments.record_feature_networks import OUT


@pytest.fixture(scope="session")
def recorded():
    with np.load(OUT) as file:
        return dict(file)
