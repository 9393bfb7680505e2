"""Model factories by name: the families, with sizes that fit the data, or a user's own factory."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from ammup.architecture.architecture import Architecture
from ammup.architecture.families import DEFAULTS, FIELDS
from ammup.errors import InputError
from ammup.models.device import usable_device
from ammup.models.families import cnn, mlp, resnet
from ammup.models.names import FAMILY_NAMES, FAMILY_WIDTH, check_family_name, imported, is_published
from ammup.models.published import published_factory, published_sizes
from ammup.models.readings import CONSTANTS
from ammup.models.streams import seeded

Factory = Callable[..., nn.Module]

FAMILIES: Mapping[str, Factory] = dict(zip(FAMILY_NAMES, (mlp, cnn, resnet), strict=True))


def named_factory(name: str, arguments: Mapping[str, Any], *, image_shape: tuple[int, ...], classes: int) -> Factory:
    """The named family with input and output sizes that fit the data, or the user's own factory.

    Args:
        name: the name of a family, torchvision:NAME, timm:NAME or hf:CONFIG, or PACKAGE.MODULE:FACTORY, which is
            imported.
        arguments: arguments of the factory.
        image_shape: the positions and then the channels, such as height, width, channels.
        classes: number of classes.

    Raises:
        InputError: the family is unknown, or the factory cannot be imported.
    """
    family = family_factory(name)
    if is_published(name):
        return partial(family, **{**published_sizes(name, image_shape=image_shape, classes=classes), **arguments})
    if ":" in name:
        return partial(family, **arguments)
    channels = image_shape[-1]
    flat = name == "mlp" or (name == "resnet" and arguments.get("dims") == 0)
    inputs = math.prod(image_shape) if flat else channels
    kind = "features" if name == "mlp" else "channels"
    sizes = {f"in_{kind}": inputs, f"out_{kind}": classes}
    return partial(family, **{"width": FAMILY_WIDTH, **sizes, **arguments})


def family_factory(name: str) -> Factory:
    """The named family with its default arguments, a published model, or the user's own PACKAGE.MODULE:FACTORY.

    Raises:
        InputError: the family is unknown, or the factory cannot be imported.
    """
    if is_published(name):
        return published_factory(name)
    if ":" in name:
        return imported(name, what="factory")
    check_family_name(name)
    return FAMILIES[name]


def architecture_of(factory: Factory, depth: int) -> Architecture | None:
    """The architecture that a factory builds at this depth, if it is a family or a `functools.partial` of one.

    The result is None for any other callable, because it may change the weights even if it calls a family.

    Raises:
        InputError: the family rejects the arguments.
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
    fields = {FIELDS.get(name, name): value for name, value in {**DEFAULTS[family], **given}.items()}
    return Architecture(family=family, depth=depth, **fields)


def build_model(factory: Factory, depth: int, seed: int, device: torch.device | str | None = None) -> nn.Module:
    """Build the factory's model for one depth and seed; the global random generators are restored.

    Raises:
        InputError: the factory raised an exception, or did not return a module.
    """
    try:
        with seeded("factory", depth, seed):
            model = factory(depth, seed=seed) if takes_seed(factory) else factory(depth)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's code can raise anything
        raise InputError(f"the factory failed at depth {depth}: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"the factory returned {type(model).__name__} at depth {depth}; it must return an nn.Module")
    return model if device is None else model.to(usable_device(device))


def factory_name(factory: Callable[..., Any]) -> str:
    """MODULE:NAME of a function or class; that of the function in a `functools.partial`, without its arguments."""
    while isinstance(factory, partial):
        factory = factory.func
    named = factory if hasattr(factory, "__qualname__") else type(factory)
    return f"{named.__module__}:{named.__qualname__}"


def takes_seed(factory: Factory) -> bool:
    """Whether the factory has a ``seed`` argument; other factories draw from torch's global generator."""
    try:
        return "seed" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False
