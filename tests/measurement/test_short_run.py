"""S̄ along the first steps of training, against a loop written out."""

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
def test_it_is_the_measurement_before_each_step_of_a_plain_loop(feed: Feed, arguments: dict) -> None:
    lr, seed, wanted = 0.2, 3, (0, 2, 5)
    found = measure_short_run(_trainer(feed, **arguments), depth=2, lr=lr, seed=seed, steps=wanted)
    net = ammup.resnet(2, width=4, seed=seed, **arguments).double().train()
    oracle = {}
    with seeded("training", seed):  # the stream of dropout masks
        for step, (images, labels) in enumerate(feed.training_batches(seed, 1)):
            if step in wanted:
                moments = ammup.measure_updates(copy.deepcopy(net), images, labels, loss="cross_entropy", seed=seed)
                oracle[step] = moments.S_bar
            net.zero_grad()
            torch.nn.functional.cross_entropy(net(images.contiguous()), labels).backward()
            with torch.no_grad():
                for weight in net.parameters():
                    weight -= lr * weight.grad
    assert [(one.depth, one.lr, one.seed, one.step) for one in found] == [(2, lr, seed, step) for step in wanted]
    assert {one.step: one.S_bar for one in found} == pytest.approx(oracle, rel=1e-9)


def test_a_run_that_diverges_has_an_infinite_step_from_there_on(feed: Feed) -> None:
    found = measure_short_run(_trainer(feed), depth=2, lr=1e200, seed=0, steps=(0, 1, 5))
    assert [one.step for one in found] == [0, 1, 5]
    assert found[0].S_bar < found[-1].S_bar == float("inf")


@pytest.mark.parametrize("steps", [(), (-1,), (0, 6)])
def test_steps_outside_of_training_are_refused(feed: Feed, steps: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="from 0 to 5"):
        measure_short_run(_trainer(feed), depth=2, lr=0.1, seed=0, steps=steps)
