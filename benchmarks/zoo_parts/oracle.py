"""S_l of an actual step in float64, by a plain backward pass and central differences, without code of ammup.

Definition. The step is the one that SGD takes: each trainable weight moves by −ε times the gradient that a plain
``loss.backward()`` leaves in ``.grad``, whatever rule produced it (hooks on parameters, straight-through estimators,
custom autograd functions and detached statistics included). The change of a unit is the true change of its output, to
first order in ε: S_l = mean |z_l(w + ε g) − z_l(w − ε g)|² / (2 ε)². Where autograd's derivative is not that of the
forward (a straight-through estimator), the gradient follows autograd and the change follows the forward.

Every evaluation starts from a new (or copied) model, so that the writes of one forward pass do not affect the next one,
and from the same states of the random generators. The step size is such that the largest relative change of a unit is
τ. Two adjacent values of τ give an estimate, and an error estimate: their difference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from zoo_parts.case import Case, Generators, Problem, default_dtype, generators_restored, set_generators
from zoo_parts.observe import Watch, convert_model, to_double, unwrapped, without_prefix

LADDERS = ((1e-5, 1e-6), (1e-3, 1e-4, 1e-7))  # the second one is used if the estimates of the first differ
AGREEMENT = 1e-4


@dataclass(frozen=True, kw_only=True)
class OracleMoments:
    """S_l of every unit, and the error of their mean.

    Attributes:
        S: one value for each unit.
        S_bar: their mean.
        error: relative difference of S̄ between the two steps that agree best.
    """

    S: tuple[float, ...]
    S_bar: float
    error: float


class UnobservedUnitError(RuntimeError):
    """A unit that ammup reported did not run in the forward pass of the oracle."""


class Evaluator:
    """Evaluates forward passes of one case in float64, each with a new model.

    Args:
        case: the case.
        units: names of the units, as ammup reported them.
        states: states of the global generators at the start of every forward pass.
        single_draws: draw random floats as a float32 model does.
    """

    def __init__(self, case: Case, units: Sequence[str], states: Generators, *, single_draws: bool) -> None:
        self.case, self.units, self.states, self.single_draws = case, tuple(units), states, single_draws

    def problem(self) -> tuple[Problem, str]:
        """A new problem in float64 without wrappers, and the prefix that these add to names."""
        built = self.case.built()
        model, prefix = unwrapped(built.model)
        convert_model(model)
        inputs, targets = tree_map(to_double, (built.inputs, built.targets))
        return Problem(model=model, inputs=inputs, targets=targets, loss=built.loss, forward=built.forward), prefix

    def gradient(self) -> dict[str, Tensor]:
        """``.grad`` of every trainable weight after a plain backward pass."""
        problem, _ = self.problem()
        with generators_restored():
            set_generators(self.states)
            with Watch(problem.model, (), single_draws=self.single_draws).watching():
                loss = problem.objective(problem.outputs())
                loss.backward()
        return {name: p.grad.to_dense() for name, p in trainable(problem.model).items() if p.grad is not None}

    def units_at(self, gradient: dict[str, Tensor], step: float) -> list[Tensor]:
        """Outputs of the units at w + step · gradient.

        Raises:
            UnobservedUnitError: a unit did not run under its name.
        """
        problem, prefix = self.problem()
        parameters = trainable(problem.model)
        for name, direction in gradient.items():
            parameters[name].data.add_(step * direction)
        names = [without_prefix(unit, prefix) for unit in self.units]
        with generators_restored():
            set_generators(self.states)
            with Watch(problem.model, names, single_draws=self.single_draws).watching() as outputs:
                problem.outputs()
        missing = [name for name in names if name not in outputs]
        if missing:
            raise UnobservedUnitError(f"units {missing} did not run in the forward pass of the oracle")
        return [outputs[name] for name in names]


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that require a gradient."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def true_moments(case: Case, units: Sequence[str], states: Generators, *, single_draws: bool = False) -> OracleMoments:
    """S_l of one step of this case.

    Args:
        case: the case.
        units: names of the units to observe.
        states: states of the global generators at the start of every forward pass.
        single_draws: draw random floats in float32, as a float32 model does, instead of in float64.
    """
    with default_dtype(torch.float64), torch.compiler.set_stance("force_eager"):
        return _ladder(Evaluator(case, units, states, single_draws=single_draws))


def outputs_at_rest(case: Case, states: Generators, *, single_draws: bool) -> Tensor:
    """The first tensor that the model returns, in float64, before any step."""
    with default_dtype(torch.float64), torch.compiler.set_stance("force_eager"):
        problem, _ = Evaluator(case, (), states, single_draws=single_draws).problem()
        with generators_restored():
            set_generators(states)
            with Watch(problem.model, (), single_draws=single_draws).watching():
                return tree_leaves(problem.outputs())[0].detach()


def _ladder(evaluator: Evaluator) -> OracleMoments:
    gradient = evaluator.gradient()
    at_rest = evaluator.units_at(gradient, 0.0)
    speed = _relative_speed(evaluator, gradient, at_rest)
    if speed == 0:
        return OracleMoments(S=(0.0,) * len(at_rest), S_bar=0.0, error=0.0)
    estimates: dict[float, list[float]] = {}
    best = OracleMoments(S=(), S_bar=math.nan, error=math.inf)
    for taus in LADDERS:
        for tau in taus:
            estimates[tau] = _moments(evaluator, gradient, tau / speed)
        best = _best_pair(estimates)
        if best.error < AGREEMENT:
            break
    return best


def _relative_speed(evaluator: Evaluator, gradient: dict[str, Tensor], at_rest: list[Tensor]) -> float:
    """The largest relative change of a unit per unit of step size, from a probe step that gives a small change."""
    step = 1e-6
    for _ in range(40):
        moved = evaluator.units_at(gradient, step)
        ratios = [_norm(b - a) / _norm(a) for a, b in zip(at_rest, moved, strict=True) if _norm(a) > 0]
        largest = max(ratios, default=0.0)
        if 1e-9 < largest < 1e-2:
            return largest / step
        if not ratios or (largest <= 1e-9 and step > 1e12):
            return largest / step if largest else float(any(_norm(z) for z in moved))
        step = step * 1e-3 if largest >= 1e-2 or not math.isfinite(largest) else step * 100
    return largest / step


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.to(torch.complex128) if tensor.is_complex() else tensor.double()))


def _moments(evaluator: Evaluator, gradient: dict[str, Tensor], step: float) -> list[float]:
    ahead, behind = evaluator.units_at(gradient, step), evaluator.units_at(gradient, -step)
    return [(_norm(a - b) / (2 * step)) ** 2 / a.numel() for a, b in zip(ahead, behind, strict=True)]


def _best_pair(estimates: dict[float, list[float]]) -> OracleMoments:
    """The moments of the smaller of the two adjacent steps whose S̄ agree best."""
    taus = sorted(estimates, reverse=True)
    best = OracleMoments(S=(), S_bar=math.nan, error=math.inf)
    for larger, smaller in pairwise(taus):
        means = [sum(estimates[tau]) / len(estimates[tau]) for tau in (larger, smaller)]
        error = abs(means[1] - means[0]) / max(*means) if max(means) > 0 else 0.0
        if error < best.error or not best.S:
            best = OracleMoments(S=tuple(estimates[smaller]), S_bar=means[1], error=error)
    return best
