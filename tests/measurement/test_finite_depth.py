"""The law of a model on a batch against the law by its arguments, and where it is too costly or does not apply."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import ammup
from ammup.measurement.finite_depth import LAW_PRODUCTS, affordable_images, finite_depth_lrs, known_law
from ammup.measurement.loss import Objective

CNN = partial(ammup.cnn, width=16, out_channels=3, readout="he")
IMAGES = torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([2, 0])


def _lrs(factory, inputs=IMAGES, targets=None, **arguments) -> dict[int, float] | None:
    laws = {depth: known_law(factory(depth)) for depth in (2, 3)}
    objective = Objective(**{"loss": "mse", "part": "label", "label_draws": 1, **arguments})
    return finite_depth_lrs(laws, inputs, targets, objective)


@pytest.mark.parametrize("classes", [None, LABELS])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_it_is_the_law_of_the_arguments_that_the_model_was_built_with(loss: str, classes: torch.Tensor | None) -> None:
    found = _lrs(CNN, targets=classes, loss=loss)
    expected = ammup.finite_depth_law(
        [2, 3],
        family="cnn",
        width=16,
        in_features=3,
        out_features=3,
        head="pool",
        kernel=3,
        inputs=IMAGES.numpy(),
        targets=None if classes is None else classes.numpy(),
        loss=loss,
        part="label",
    )
    assert list(found) == [2, 3]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("factory", "arguments", "known"),
    [
        (CNN, {}, True),
        (CNN, {"part": "total"}, True),
        (partial(CNN, out_channels=5), {"part": "total"}, False),  # more than a quarter as many outputs as channels
        (partial(CNN, out_channels=5), {"part": "label"}, True),
        (CNN, {"targets": torch.ones(2, 3)}, False),
        (CNN, {"loss": nn.functional.cross_entropy, "part": "total", "targets": LABELS}, False),
        (partial(CNN, width=64), {"inputs": torch.ones(100, 3, 16, 16)}, False),  # too costly
        (lambda depth: nn.Sequential(nn.Linear(4, 4)), {"inputs": {"x": 3}}, False),
    ],
)
def test_there_is_a_law_where_it_applies_and_can_be_computed(factory, arguments: dict, known: bool) -> None:
    assert (_lrs(factory, **arguments) is not None) == known


@pytest.mark.parametrize("factory", [CNN, partial(ammup.resnet, width=16, out_channels=3)])
def test_as_many_images_are_affordable_as_the_budget_has_products_for(factory) -> None:
    laws = [known_law(factory(depth)) for depth in (2, 6)]
    images = torch.ones(1, 3, 6, 6)
    n = affordable_images(laws, images)
    products = 6**2 if laws[0].residual else 3 * 5  # of the deepest net, whose stem is a unit if it is plain
    positions = 36 * 3 // laws[0].stem.fan_in * n
    assert products * positions**3 <= LAW_PRODUCTS
    one_more = products * (positions + 36 * 3 // laws[0].stem.fan_in) ** 3
    assert one_more > LAW_PRODUCTS
    assert affordable_images([None], images) == 0
