"""From a name to a model: the families fitted to the data, or a user's own factory."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from ammup.errors import InputError
from ammup.models.device import usable_device
from ammup.models.families import cnn, mlp, resnet
from ammup.models.streams import seeded

Factory = Callable[..., nn.Module]

FAMILIES: Mapping[str, Factory] = {"mlp": mlp, "cnn": cnn, "resnet": resnet}
FAMILY_WIDTH = 128


def named_factory(
    name: str, arguments: Mapping[str, Any], *, image_shape: tuple[int, int, int], classes: int
) -> Factory:
    """The named family fitted to images (height, width, channels) and their classes, or the user's own factory.

    Args:
        name: of a family, or PACKAGE.MODULE:FACTORY, which is imported.
        arguments: of the factory.
        image_shape: height, width, channels.
        classes: their number.

    Raises:
        InputError: an unknown family, or a factory that cannot be imported.
    """
    family = family_factory(name)
    if ":" in name:
        return partial(family, **arguments)
    height, width, channels = image_shape
    flat = name == "mlp" or (name == "resnet" and arguments.get("dims") == 0)
    size, outputs = (height * width * channels if flat else channels), classes
    shape = (
        {"in_features": size, "out_features": outputs}
        if name == "mlp"
        else {"in_channels": size, "out_channels": outputs}
    )
    return partial(family, **{"width": FAMILY_WIDTH, **shape, **arguments})


def family_factory(name: str) -> Factory:
    """The named family as it is, or the user's own PACKAGE.MODULE:FACTORY, imported.

    Raises:
        InputError: an unknown family, or a factory that cannot be imported.
    """
    if ":" in name:
        return _imported(name)
    if name not in FAMILIES:
        raise InputError(
            f"family {name!r} is not known; allowed: {', '.join(FAMILIES)}, or PACKAGE.MODULE:FACTORY for your own"
        )
    return FAMILIES[name]


def _imported(name: str) -> Factory:
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs the user's code: anything can be raised there
        raise InputError(f"factory {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(factory):
        raise InputError(f"factory {name!r} is a {type(factory).__name__}; it must be callable")
    return cast(Factory, factory)


def build_model(factory: Factory, depth: int, seed: int, device: torch.device | str | None = None) -> nn.Module:
    """The factory's module for one depth and seed; the global random generators are left as they were.

    Raises:
        InputError: the factory raised, or returned something else than a module.
    """
    try:
        with seeded("factory", depth, seed):
            model = factory(depth, seed=seed) if takes_seed(factory) else factory(depth)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise InputError(f"the factory failed at depth {depth}: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"the factory returned {type(model).__name__} at depth {depth}; it must return an nn.Module")
    return model if device is None else model.to(usable_device(device))


def takes_seed(factory: Factory) -> bool:
    """Whether the factory draws from a seed that it is given; the others draw from torch's global generator."""
    try:
        return "seed" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False
