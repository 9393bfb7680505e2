"""Models that people build nets from, each a few layers large, in groups."""

import importlib

from zoo_parts.case import Group

MODULES = (
    *("outside_autograd", "gradients", "state", "execution", "wrappers", "reparametrized", "recurrent", "attention"),
    *("normalization", "noise", "convolution", "operations", "topology", "loops", "modules", "batches", "precision"),
)


def groups() -> list[Group]:
    """Every group of constructs."""
    found: list[Group] = []
    for name in MODULES:
        module = importlib.import_module(f"{__name__}.{name}")
        found += [value for value in vars(module).values() if isinstance(value, Group)]
    return found
