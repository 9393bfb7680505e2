"""Names of factories, without PyTorch: a wrong name is reported before PyTorch is imported."""

import importlib
from collections.abc import Callable
from typing import Any, cast

from ammup.errors import InputError

FAMILY_NAMES = ("mlp", "cnn", "resnet")
FAMILY_WIDTH = 128  # of a family that is given by name
PACKAGES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}


def is_published(name: str) -> bool:
    """Whether a name has the form PACKAGE:NAME of one of these packages."""
    return name.partition(":")[0] in PACKAGES and ":" in name


def check_factory_name(name: str) -> None:
    """Raise InputError unless a name is that of a family or of a published model, or an importable user's factory."""
    if ":" not in name:
        check_family_name(name)
    elif not is_published(name):
        imported(name, what="factory")


def check_family_name(name: str) -> None:
    """Raise InputError unless a name is that of a family."""
    if name not in FAMILY_NAMES:
        raise InputError(
            f"unknown family {name!r}; expected one of: {', '.join(FAMILY_NAMES)}, torchvision:NAME, timm:NAME or "
            "hf:CONFIG, or PACKAGE.MODULE:FACTORY for your own"
        )


def imported(name: str, *, what: str) -> Callable[..., Any]:
    """The callable PACKAGE.MODULE:NAME, which is imported; ``what`` names it in errors, such as "factory".

    Raises:
        InputError: the import fails, or the object is not callable.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs the user's code, which can raise anything
        raise InputError(f"{what} {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InputError(f"{what} {name!r} is a {type(found).__name__}; it must be callable")
    return cast(Callable[..., Any], found)
