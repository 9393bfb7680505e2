"""Import of modules of ammup by their current names, also in commits in which they had other names."""

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
    """The module with this name, or else with one of its earlier names, from the most recent to the oldest."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        return module(EARLIER[name])
