"""Factories by name, and the models they build: the families fitted to the data, or a user's own factory."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from ammup.architecture.architecture import Architecture
from ammup.errors import InputError
from ammup.models.device import usable_device
from ammup.models.families import cnn, mlp, resnet
from ammup.models.readings import CONSTANTS
from ammup.models.streams import seeded

Factory = Callable[..., nn.Module]

FAMILIES: Mapping[str, Factory] = {"mlp": mlp, "cnn": cnn, "resnet": resnet}
FAMILY_WIDTH = 128
_FIELDS = {"in_channels": "in_features", "out_channels": "out_features"}  # other names of an Architecture's fields


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
    """The named family without fitted arguments, or the user's own PACKAGE.MODULE:FACTORY, imported.

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


def architecture_of(factory: Factory, depth: int) -> Architecture | None:
    """What a factory builds at this depth, where it is one of the families, with or without fixed arguments.

    None for any other callable, even one that calls a family: it may change the weights afterwards.

    Raises:
        InputError: arguments that the family rejects.
    """
    function, given = factory, dict[str, Any]()
    while isinstance(function, partial):
        if function.args:
            return None
        given = {**function.keywords, **given}
        function = function.func
    if function in CONSTANTS:
        function, given = resnet, {**given, "c": CONSTANTS[function](depth)}
    family = next((name for name, one in FAMILIES.items() if one is function), None)
    if family is None:
        return None
    given.pop("seed", None)
    defaults = {
        parameter.name: parameter.default
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "seed"
    }
    fields = {_FIELDS.get(name, name): value for name, value in {**defaults, **given}.items()}
    return Architecture(family=family, depth=depth, **fields)


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
