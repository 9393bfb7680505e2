"""Benchmarks of the inner loops, to be timed by hand before and after a change; as tests, each runs once.

pytest tests/measurement/test_speed.py --benchmark-enable --benchmark-save=before
pytest tests/measurement/test_speed.py --benchmark-enable --benchmark-compare --benchmark-compare-fail=min:50%
"""

from collections.abc import Callable, Iterator

import pytest
import torch

import ammup
from ammup.data.minibatches import Feed
from ammup.training.allocator import freed_memory_kept
from ammup.training.replicas import TRAINERS
from ammup.training.runs import Training

BATCH = 32


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with freed_memory_kept():
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("strategy", TRAINERS)
@pytest.mark.parametrize("width", [8, 32])
def test_a_training_step(strategy: str, width: int, benchmark: Callable) -> None:
    data = ammup.load_data("synthetic", image_size=8, train=2 * BATCH, validation=10)
    feed = Feed(data, batch_size=BATCH, device="cpu", dtype=torch.float32)
    build = lambda seed: ammup.cnn(3, width=width, seed=seed)  # noqa: E731
    trainer = TRAINERS[strategy](build, feed, Training(batch_size=BATCH))
    replicas = benchmark(lambda: trainer.train([0.01, 0.02], 0, steps=2))
    assert [len(replica.losses) for replica in replicas] == [2, 2]


@pytest.mark.parametrize("depth", [2, 8])
def test_a_measurement(depth: int, benchmark: Callable) -> None:
    images, labels = ammup.load_data("synthetic", image_size=8).batch(8)
    model = ammup.cnn(depth, width=16)
    moments = benchmark(lambda: ammup.measure_updates(model, images, labels, loss="cross_entropy"))
    assert moments.S.shape == (depth,)


def test_a_minibatch(benchmark: Callable) -> None:
    data = ammup.load_data("synthetic", image_size=16, train=4 * BATCH, validation=10)
    feed = Feed(data, batch_size=BATCH, device="cpu", dtype=torch.float32)
    images, labels = benchmark(lambda: next(feed.training_batches(0, 1)))
    assert (images.shape, labels.shape) == ((BATCH, 3, 16, 16), (BATCH,))
