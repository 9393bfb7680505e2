"""Models from names and factories: what they are fitted to, what they draw, and what is refused."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

import ammup
from ammup import InputError
from ammup.models.factory import FAMILIES, FAMILY_WIDTH, build_model, family_factory, named_factory, takes_seed
from ammup.models.streams import seeded


@pytest.mark.parametrize(
    ("name", "arguments", "flat"),
    [("mlp", {}, True), ("cnn", {}, False), ("resnet", {}, False), ("resnet", {"dims": 0}, True)],
)
def test_a_family_is_fitted_to_the_images_and_their_classes(name: str, arguments: dict, flat: bool) -> None:
    factory = named_factory(name, arguments, image_shape=(4, 6, 3), classes=7)
    model = build_model(factory, 2, seed=0)
    images = torch.zeros(2, 3, 4, 6)
    assert model(images.flatten(1) if flat else images).shape == (2, 7)
    assert next(model.parameters()).shape[0] == FAMILY_WIDTH


def test_arguments_override_what_is_fitted() -> None:
    arguments = {"width": 5, "out_channels": 2, "seed": 3}
    factory = named_factory("cnn", arguments, image_shape=(4, 4, 3), classes=7)
    own, same = factory(2), ammup.cnn(2, width=5, in_channels=3, out_channels=2, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), same.parameters(), strict=True))


def test_a_users_factory_is_imported_and_takes_its_arguments_only() -> None:
    assert family_factory("ammup:mlp") is ammup.mlp
    factory = named_factory("ammup:mlp", {"width": 5, "in_features": 4}, image_shape=(9, 9, 9), classes=99)
    assert factory(2)(torch.zeros(1, 4)).shape == (1, 10)  # the factory's own number of outputs
    assert {name: family_factory(name) for name in FAMILIES} == FAMILIES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "vgg",
            "unknown family 'vgg'; expected one of: mlp, cnn, resnet, torchvision:NAME, timm:NAME or hf:CONFIG",
        ),
        ("ammup.nowhere:make", "cannot be imported: ModuleNotFoundError"),
        ("ammup:nothing", "cannot be imported: AttributeError"),
        ("ammup:__version__", "is a str; it must be callable"),
    ],
)
def test_an_unknown_factory_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        family_factory(name)


def _global(depth: int) -> nn.Module:
    return nn.Linear(depth, depth)


def test_a_factory_that_draws_from_the_global_generator_is_seeded_by_depth_and_seed() -> None:
    weights = [build_model(_global, depth, seed).weight for depth, seed in ((3, 0), (3, 0), (3, 1), (4, 0))]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3][:3, :3])
    with seeded("before"):
        expected = torch.rand(3)
    with seeded("before"):
        build_model(_global, 3, 0)
        assert torch.equal(torch.rand(3), expected)


def test_a_factory_with_a_seed_is_given_it() -> None:
    factory = partial(ammup.mlp, width=4, in_features=3)
    built, own = build_model(factory, 2, 5), factory(2, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), own.parameters(), strict=True))


@pytest.mark.parametrize(
    ("factory", "takes"), [(_global, False), (ammup.cnn, True), (partial(ammup.cnn, width=2), True), (type, False)]
)
def test_whether_a_factory_takes_a_seed(factory: Callable[..., nn.Module], takes: bool) -> None:
    assert takes_seed(factory) == takes


def test_a_model_is_moved_to_the_device() -> None:
    assert next(build_model(_global, 2, 0, "meta").parameters()).is_meta


def _fails(depth: int) -> nn.Module:
    raise OSError("no disk")


def _exits(depth: int) -> nn.Module:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (_fails, "the factory failed at depth 2: OSError: no disk"),
        (_exits, "the factory failed at depth 2: SystemExit: 3"),
        (lambda depth: depth, "the factory returned int at depth 2; it must return an nn.Module"),
        (partial(ammup.mlp, width=0), "^width=0: expected"),  # an InputError is raised unchanged
    ],
)
def test_a_factory_that_builds_no_model_is_refused(factory: Callable[..., nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(factory, 2, 0)
