"""Data for the training tests."""

import pytest
from naive_training import STEPS

import ammup
from ammup.data.dataset import Data


@pytest.fixture(scope="session")
def data() -> Data:
    """Small images; the last minibatch of 16 is smaller than the others."""
    return ammup.load_data("synthetic", image_size=8, train=16 * STEPS - 5, validation=50)
