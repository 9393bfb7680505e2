"""Modules of ammup by their present names, in commits that have them elsewhere too."""

from importlib import import_module
from types import ModuleType

EARLIER = {
    "ammup.claims.claim": "ammup.suite.claims",
    "ammup.claims.statements": "ammup.suite.statements",
    "ammup.data.dataset": "ammup.measurement.data",
    "ammup.data.minibatches": "ammup.measurement.feed",
    "ammup.stats.search": "ammup.fitting.search",
    "ammup.training.allocator": "ammup.measurement.memory",
    "ammup.training.precision": "ammup.training.replica",
    "ammup.training.replica": "ammup.measurement.replica",
    "ammup.training.replicas": "ammup.measurement.training",
    "ammup.training.runs": "ammup.training.replica",
}


def module(name: str) -> ModuleType:
    """The module of this name, or of its earlier names, the most recent one first."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return module(EARLIER[name])
