"""S̄ during the first steps of training, compared with a plain training loop."""

import copy
from functools import partial

import pytest
import torch

import ammup
from ammup.data.dataset import load_data
from ammup.data.minibatches import Feed
from ammup.errors import InputError
from ammup.measurement.short_run import measure_short_run
from ammup.models.streams import seeded
from ammup.training.loop import LoopTrainer
from ammup.training.runs import Training


@pytest.fixture(scope="module")
def feed() -> Feed:
    data = load_data("synthetic", image_size=8, train=96, validation=32)
    return Feed(data, batch_size=16, device="cpu", dtype=torch.float64)


def _trainer(feed: Feed, **arguments: object) -> LoopTrainer:
    build = partial(ammup.resnet, 2, width=4, **arguments)
    return LoopTrainer(lambda seed: build(seed=seed), feed, Training(batch_size=16, dtype="float64"))


@pytest.mark.parametrize("arguments", [{}, {"batchnorm": True}, {"dropout": 0.3}])
def test_measurements_equal_those_in_a_plain_loop(feed: Feed, arguments: dict) -> None:
    lr, seed, steps = 0.2, 3, (0, 2, 5)
    measured = measure_short_run(_trainer(feed, **arguments), depth=2, lr=lr, seed=seed, steps=steps)
    net = ammup.resnet(2, width=4, seed=seed, **arguments).double().train()
    expected = {}
    with seeded("training", seed):  # the random numbers of the dropout masks
        for step, (images, labels) in enumerate(feed.training_batches(seed, 1)):
            if step in steps:
                moments = ammup.measure_updates(copy.deepcopy(net), images, labels, loss="cross_entropy", seed=seed)
                expected[step] = moments.S_bar
            net.zero_grad()
            torch.nn.functional.cross_entropy(net(images.contiguous()), labels).backward()
            with torch.no_grad():
                for weight in net.parameters():
                    weight -= lr * weight.grad
    assert [(one.depth, one.lr, one.seed, one.step) for one in measured] == [(2, lr, seed, step) for step in steps]
    assert {one.step: one.S_bar for one in measured} == pytest.approx(expected, rel=1e-9)


def test_S_bar_is_infinite_after_a_run_has_diverged(feed: Feed) -> None:
    measured = measure_short_run(_trainer(feed), depth=2, lr=1e200, seed=0, steps=(0, 1, 5))
    assert [one.step for one in measured] == [0, 1, 5]
    assert measured[0].S_bar < measured[-1].S_bar == float("inf")


@pytest.mark.parametrize("steps", [(), (-1,), (0, 6)])
def test_steps_outside_of_training_are_rejected(feed: Feed, steps: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="from 0 to 5"):
        measure_short_run(_trainer(feed), depth=2, lr=0.1, seed=0, steps=steps)
