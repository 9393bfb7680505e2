"""The sixteen models of benchmarks/gate_repeats.py, each with its batch and with faults.

They are the nine architectures of benchmarks/cause_parts, the five projects of tests/projects, a ViT and a ConvNeXt.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # the projects

from cause_parts import plant
from cause_parts.nets import FAMILIES, Family
from gate_parts import nets
from project_faults import FAULTS as PROJECT_FAULTS
from project_faults import faulty_source, source_of

import ammup

Factory = Callable[..., nn.Module]
# Faults of benchmarks/cause_parts that change η* or the number of units in every architecture in which they can occur.
# "readout too large" and "all weights at std 0.02" are left out, because others are alike; those of the optimizer
# need another baseline.
COMMON_FAULTS = (
    "all weights 1.5 times too large",
    "all weights 0.6 times too small",
    "two layers at std 1",
    "one layer too few",
    "one layer too many",
    "readout too small",
    "one layer shared by all",
    "first half frozen",
    "branches not divided",
    "skip lost",
    "normalization lost",
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that the gate checks.

    Attributes:
        net: the factory of the correct model.
        faults: factories of the model with a fault.
        batch: inputs, targets and loss.
    """

    net: Factory
    faults: Mapping[str, Factory]
    batch: Mapping[str, Any]


def subjects() -> dict[str, Subject]:
    """All of them by name."""
    return {
        **{f"{name} (causes)": _architecture(family) for name, family in FAMILIES.items()},
        **{name: _project(name) for name in PROJECT_FAULTS},
        **{kind.__name__: _own(kind) for kind in nets.FAULTS},
    }


def _architecture(family: Family) -> Subject:
    inputs = torch.randn(family.shape, generator=torch.Generator().manual_seed(0))
    faults = {name: plant.FAULTS[name] for name in COMMON_FAULTS}
    planted = {name: fault.planted(family) for name, fault in faults.items() if fault.fits(family)}
    return Subject(net=family.net, faults=planted, batch={"inputs": inputs, "loss": "mse"})


@cache
def _images(size: int) -> dict[str, Any]:
    images, labels = ammup.load_data("synthetic", image_size=8).batch(size)
    return {"inputs": images, "targets": labels, "loss": "cross_entropy"}


def _project(name: str) -> Subject:
    faults = {fault: _module(faulty_source(name, fault)).make_net for fault in PROJECT_FAULTS[name]}
    return Subject(net=_module(source_of(name)).make_net, faults=faults, batch=_images(16))


def _module(source: str) -> ModuleType:
    module = ModuleType("nets")
    exec(source, vars(module))
    return module


def _own(kind: type[nn.Module]) -> Subject:
    faults = {name: partial(_build, kind=kind, fault=name) for name in nets.FAULTS[kind]}
    return Subject(net=partial(_build, kind=kind), faults=faults, batch=_images(8))


def _build(depth: int, *, kind: type[nn.Module], fault: str = "") -> nn.Module:
    model = kind(depth)
    if fault:
        nets.FAULTS[kind][fault](model)
    return model
