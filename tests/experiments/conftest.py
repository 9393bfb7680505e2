"""A sweep of seconds."""

import pytest

from ammup.experiments.experiment import Experiment

SMALL = """
name = "small"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 512, validation = 128}
grid = {depths = [2, 3], lrs = [0.03, 0.3, 3.0, 1e30], seeds = 2}
training = {batch_size = 64}
"""


@pytest.fixture
def small() -> Experiment:
    return Experiment.from_toml(SMALL)
