"""A case of the zoo: a model, a batch and a loss, and the group under which it is reported."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Loss = str | Callable[[Any, Any], Tensor]
Forward = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The arguments of ``ammup.measure_updates``.

    Attributes:
        model: the module, in the mode (training or evaluation) in which it is measured.
        inputs: the batch.
        targets: class indices, or floats shaped like the outputs, or what a callable loss takes.
        loss: "mse", "cross_entropy" or a callable (outputs, targets) -> scalar.
        forward: ``forward(model, inputs)``; None calls ``model(inputs)``.
    """

    model: nn.Module
    inputs: Any
    targets: Any
    loss: Loss = "cross_entropy"
    forward: Forward | None = None

    def outputs(self) -> Any:
        """The outputs of one forward pass."""
        return self.model(self.inputs) if self.forward is None else self.forward(self.model, self.inputs)

    def objective(self, outputs: Any) -> Tensor:
        """The loss that ammup documents for these outputs."""
        if callable(self.loss):
            return self.loss(outputs, self.targets)
        if self.loss == "cross_entropy":
            return F.cross_entropy(outputs, self.targets)
        targets = self.targets
        if not targets.is_floating_point():
            targets = F.one_hot(targets, outputs.shape[1]).movedim(-1, 1)
        return (outputs - targets.to(outputs)).square().mean() / 2


@dataclass(frozen=True, kw_only=True)
class Case:
    """A named problem.

    Attributes:
        name: unique within its collection.
        group: heading in the summary.
        build: creates the problem; it draws only from the global generators, which are seeded before every call.
        refusal: the reason why an InputError is the correct result; empty for all other cases.
        rebuild: whether every use builds a new model (for cheap models, some of which cannot be copied) or copies one.
    """

    name: str
    group: str
    build: Callable[[], Problem]
    refusal: str = ""
    rebuild: bool = True

    def built(self) -> Problem:
        """A new copy of the same problem in every call; the states of the global generators are restored."""
        if not self.rebuild and _LAST.keys() == {self.name}:
            return replace(_LAST[self.name], model=copy.deepcopy(_LAST[self.name].model))
        with generators_restored(), default_dtype(torch.float32):
            seed_everything(0)
            problem = self.build()
        if not self.rebuild:
            _LAST.clear()
            _LAST[self.name] = replace(problem, model=copy.deepcopy(problem.model))
        return problem


_LAST: dict[str, Problem] = {}  # the problem of the last case whose models are copied


@dataclass
class Group:
    """A collection of cases under one heading."""

    title: str
    rebuild: bool = True
    cases: list[Case] = field(default_factory=list)

    def add(self, name: str, build: Callable[..., Problem], *arguments: Any, refusal: str = "") -> None:
        """Add one case; ``arguments`` are passed to ``build``."""
        built = partial(build, *arguments) if arguments else build
        self.cases.append(Case(name=name, group=self.title, build=built, refusal=refusal, rebuild=self.rebuild))

    def case(self, build: Callable[[], Problem]) -> Callable[[], Problem]:
        """Decorate a function that builds a problem: its name is the name of the case."""
        self.add(build.__name__, build)
        return build

    def refused(self, reason: str) -> Callable[[Callable[[], Problem]], Callable[[], Problem]]:
        """Decorate like :meth:`case`, for a model for which an InputError is the correct result."""

        def decorate(build: Callable[[], Problem]) -> Callable[[], Problem]:
            self.add(build.__name__, build, refusal=reason)
            return build

        return decorate


Generators = tuple[Tensor, Any, Any]


def generator_states() -> Generators:
    """States of the global generators of torch, NumPy and Python."""
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002


def set_generators(states: Generators) -> None:
    """Resume the global generators from these states."""
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


@contextmanager
def generators_restored() -> Iterator[None]:
    """Restore the states of the global generators at the end."""
    before = generator_states()
    try:
        yield
    finally:
        set_generators(before)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set the default dtype in the context."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
