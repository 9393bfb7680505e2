"""The law of a model on a batch, compared with the law for its arguments, and the cases without a law."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import ammup
from ammup.measurement.finite_depth import _applies, affordable_images, finite_depth_lrs
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


@pytest.mark.parametrize(
    ("factory", "least"),
    [(CNN, 64), (partial(ammup.resnet, width=16, out_channels=3), 32), (partial(CNN, activation="gelu"), 8)],
)
def test_law_of_a_usual_batch_of_8_by_8_images_is_affordable(factory, least: int) -> None:
    """32 images at depths up to 16, so that the law is shown; fewer of smooth activations."""
    nets = [architecture_of(factory, depth) for depth in (2, 16)]
    assert affordable_images(nets, torch.ones(1, 3, 8, 8)) >= least
    assert affordable_images([None], torch.ones(1, 3, 8, 8)) == 0


@pytest.mark.parametrize("factory", [CNN, partial(ammup.resnet, width=16, out_channels=3)])
def test_number_of_affordable_images_is_the_largest_with_a_law(factory) -> None:
    image = torch.ones(1, 3, 16, 16)
    nets = {60: architecture_of(factory, 60)}
    n = affordable_images(nets.values(), image)
    for images, affordable in ((n, True), (n + 1, False)):
        spec = MeasurementSpec(inputs=image.expand(images, -1, -1, -1), part="label")
        assert _applies(nets[60], spec) == affordable
