"""The law of a model on a batch, compared with the law for its arguments, and the cases without a law."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import ammup
from ammup.measurement.finite_depth import LAW_PRODUCTS, affordable_images, finite_depth_lrs
from ammup.measurement.specification import MeasurementSpec
from ammup.models.factory import architecture_of

CNN = partial(ammup.cnn, width=16, out_channels=3, readout="he")
IMAGES = torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([2, 0])


def _lrs(factory, inputs=IMAGES, targets=None, **arguments) -> dict[int, float] | None:
    nets = {depth: architecture_of(factory, depth) for depth in (2, 3)}
    spec = MeasurementSpec(**{"inputs": inputs, "targets": targets, "part": "label", **arguments})
    return finite_depth_lrs(nets, spec)


@pytest.mark.parametrize("classes", [None, LABELS])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_law_of_a_model_equals_the_law_for_its_arguments(loss: str, classes: torch.Tensor | None) -> None:
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
    ("factory", "arguments", "has_law"),
    [
        (CNN, {}, True),
        (CNN, {"part": "total"}, True),
        (partial(CNN, out_channels=5), {"part": "total"}, False),  # more than a quarter as many outputs as channels
        (partial(CNN, out_channels=5), {"part": "label"}, True),
        (CNN, {"targets": torch.ones(2, 3)}, False),
        (CNN, {"loss": nn.functional.cross_entropy, "part": "total", "targets": LABELS}, False),
        (partial(CNN, width=64), {"inputs": torch.ones(100, 3, 16, 16)}, False),  # too expensive
        (
            lambda depth: nn.Sequential(nn.Linear(4, 4)),
            {"inputs": {"x": 3}, "forward": lambda model, x: model(x)},
            False,
        ),
    ],
)
def test_there_is_a_law_if_it_applies_and_is_not_too_expensive(factory, arguments: dict, has_law: bool) -> None:
    assert (_lrs(factory, **arguments) is not None) == has_law


@pytest.mark.parametrize("factory", [CNN, partial(ammup.resnet, width=16, out_channels=3)])
def test_number_of_affordable_images_is_the_largest_within_the_limit(factory) -> None:
    nets = [architecture_of(factory, depth) for depth in (2, 6)]
    images = torch.ones(1, 3, 6, 6)
    n = affordable_images(nets, images)
    products = 6**2 if nets[0].residual else 3 * 5  # of the net with depth 6
    positions = 36 * 3 // nets[0].in_features * n
    assert products * positions**3 <= LAW_PRODUCTS
    one_more = products * (positions + 36 * 3 // nets[0].in_features) ** 3
    assert one_more > LAW_PRODUCTS
    assert affordable_images([None], images) == 0
