"""One gradient step of any model that trains, measured by what training itself does.

A plain backward gives the gradient g, so every hook, detached statistic and custom backward acts as in training. Plain
forwards at the weights w + ε d and w - ε d, with d the step of g, give the change of every depth unit as a central
difference. The weights are moved in place and restored from copies, in float64 where the model runs in it.

The *bend* |z₊ + z₋ - 2 z₀| / |z₊ - z₋| of a unit says how far its difference can be from the derivative: it is of first
order in ε where the unit is curved, and grows like 1/ε where rounding errors dominate. Several ε are tried; the
smallest bend is reported as the relative error.

Axes: R residual row, B batch, U depth unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.measurement.first_step import FirstStep
from ammup.measurement.observation import checked_outputs, checked_units, observed_units
from ammup.measurement.specification import MeasurementSpec
from ammup.models.depth import Forward, cannot_be_run
from ammup.models.eager import run_eagerly
from ammup.models.flow import check_outside_transforms
from ammup.models.state import ModelState
from ammup.models.streams import random_stream, seeded

Weights = dict[str, Tensor]

# Relative changes of the unit that moves most: 1e-6 for smooth models in float64, the larger ones for models that
# compute partly in float32, whose rounding errors are 1e-7 of a pre-activation.
LADDER = (1e-6, 1e-4, 1e-3)
# A bend below this ends the search for a better ε.
SMALL_BEND = 1e-4
# The first ε is guessed from the weights; it is corrected where the units move this many times more or less.
WIDE = 30.0


@dataclass(frozen=True, kw_only=True)
class RowMoments:
    """What one residual row contributes.

    Attributes:
        S: mean square of every unit's change at learning rate 1, (U,).
        bend: relative error of every unit's change, (U,).
        squares: squared norm of the gradient of each weight.
    """

    S: Array
    bend: Array
    squares: Array


class Difference:
    """A model in the middle of a measurement: restored before every pass, run at moved weights.

    Args:
        model: the module; its state must be preserved by the caller.
        spec: what is measured.
        units: names of the observed modules.
        stream: what labels and dropout masks depend on.
    """

    def __init__(self, model: nn.Module, spec: MeasurementSpec, units: Sequence[str], stream: object) -> None:
        self.model, self.spec, self.stream = model, spec, stream
        self.units = checked_units(model, units)
        self.weights = trainable(model)
        spec.check_factors(self.weights)
        self.state = ModelState(model)
        like = next(iter(self.weights.values()))
        self.inputs = spec.inputs_on(like.real if like.is_complex() else like)
        self.targets = spec.targets_on(like)
        parameters = dict(model.named_parameters())
        self._checkpointed = False
        self.optimizer = None if spec.optimizer is None else FirstStep.of(spec.optimizer, parameters)

    def rows(self) -> tuple[list[RowMoments], list[RowMoments]]:
        """The moments of every fixed and every drawn residual row, see :class:`ammup.measurement.loss.Residuals`."""
        z0, fixed, drawn = self.gradients()
        return [self._row(g, z0) for g in fixed], [self._row(g, z0) for g in drawn]

    def gradients(self) -> tuple[list[Tensor], list[Weights], list[Weights]]:
        """The units' outputs, and the gradients of all fixed and drawn rows, by one forward."""
        objective, z0 = self.spec.objective, dict[str, Tensor]()
        self.state.restore()
        with torch.enable_grad(), seeded("masks", self.stream):
            with observed_units(self.model, self.units, partial(_keep, z0)):
                outputs = call_model(self.model, self.inputs, self.spec.forward)
            self._checkpointed = has_checkpoints(outputs)
            if callable(objective.loss):
                scalar = objective.scalar(outputs, self.targets)
                fixed, drawn = self._backward([(scalar, None)]), []
            else:
                plain = checked_outputs(outputs, self.inputs, objective)
                residuals = self._residuals(plain.detach())
                rows = [*residuals[0], *residuals[1]]
                found = self._backward([(plain, row) for row in rows])
                fixed, drawn = found[: len(residuals[0])], found[len(residuals[0]) :]
        return [z0[unit] for unit in self.units], fixed, drawn

    def _residuals(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        objective = self.spec.objective
        if self.targets is not None:
            objective.check_targets(outputs, self.targets)
            found = objective.residuals(outputs, self.targets, drawn=False)
        else:
            labels = objective.draw_labels(outputs.shape, outputs, random_stream("labels", self.stream))
            found = objective.residuals(outputs, labels, drawn=True, whole=self.optimizer is not None)
        return found.fixed, found.drawn

    def _backward(self, roots: Sequence[tuple[Tensor, Tensor | None]]) -> list[Weights]:
        """The gradient of every weight for each pair of an output and the row that it is multiplied by."""
        # A forward may freeze a weight; backward leaves that one out then.
        moving = {name: w for name, w in self.weights.items() if w.requires_grad}
        weights = list(moving.values())
        found = []
        for number, (output, row) in enumerate(roots):
            kept = number < len(roots) - 1
            gradients: Sequence[Tensor | None]
            if any(w._post_accumulate_grad_hooks for w in weights) or self._checkpointed:
                gradients = _accumulated(output, row, weights, retain_graph=kept)
            else:
                gradients = torch.autograd.grad(output, weights, row, retain_graph=kept, allow_unused=True)
            slopes = dict(zip(moving, gradients, strict=True))
            found.append({name: _dense(slopes.get(name), w) for name, w in self.weights.items()})
        return found

    def _row(self, gradient: Weights, z0: list[Tensor]) -> RowMoments:
        squares = np.array([float(_square(g)) for g in gradient.values()])
        direction = gradient
        if self.optimizer is not None:
            start = {name: w.detach().clone() for name, w in self.weights.items()}
            direction = self.optimizer.direction(start, gradient)
        factors = self.spec.lr_factors
        direction = {name: d * factors[name] if name in factors else d for name, d in direction.items()}
        S, bend = self._moments(direction, z0)
        return RowMoments(S=S, bend=bend, squares=squares)

    def _moments(self, direction: Weights, z0: list[Tensor]) -> tuple[Array, Array]:
        """(S_l, bend) of every unit along a direction, at the ε with the least bend of each."""
        size = math.sqrt(sum(float(_square(d)) for d in direction.values()))
        scale = math.sqrt(sum(float(_square(w)) for w in self.weights.values()))
        if size == 0:
            return np.zeros(len(z0)), np.zeros(len(z0))
        epsilon = LADDER[0] * (scale or 1.0) / size
        best_S, best_bend = np.zeros(len(z0)), np.full(len(z0), np.inf)
        for number, tau in enumerate(LADDER):
            S, bend, moved = self._central(direction, epsilon, z0)
            if number == 0 and moved and not 1 / WIDE < moved / tau < WIDE:
                epsilon *= tau / moved
                S, bend, moved = self._central(direction, epsilon, z0)
            better = (bend < best_bend) | (number == 0)
            best_S, best_bend = np.where(better, S, best_S), np.where(better, bend, best_bend)
            if (best_bend <= SMALL_BEND).all():
                break
            if moved and number + 1 < len(LADDER):
                epsilon *= LADDER[number + 1] / moved
        return best_S, best_bend

    def _central(self, direction: Weights, epsilon: float, z0: list[Tensor]) -> tuple[Array, Array, float]:
        """(S_l, bend, largest relative movement) from the forwards at plus and minus ε."""
        plus = self.at(direction, epsilon)
        minus = self.at(direction, -epsilon)
        S, bend, moved = [], [], 0.0
        for a, b, middle in zip(plus, minus, z0, strict=True):
            change, curve = float(_square(a - b)), float(_square((a - middle) + (b - middle)))
            size = float(_square(middle))
            S.append(change / (4 * epsilon**2) / max(1, a.numel()))
            bend.append(math.sqrt(curve / change) if change > 0 else (0.0 if curve == 0 else math.inf))
            if size > 0:  # a unit that starts at zero has no relative movement
                moved = max(moved, math.sqrt(change / size) / 2)
        return np.array(S), np.array(bend), moved

    def at(self, direction: Weights, epsilon: float) -> list[Tensor]:
        """Every unit's output at the weights moved by ε times the direction."""
        found: dict[str, Tensor] = {}
        self.state.restore()
        for name, d in direction.items():
            self.weights[name].data.add_(d, alpha=epsilon)
        # With gradients, as in training: some modules compute otherwise without (the fast path of attention).
        keep = partial(_keep, found)
        with torch.enable_grad(), seeded("masks", self.stream), observed_units(self.model, self.units, keep):
            call_model(self.model, self.inputs, self.spec.forward)
        return [found[unit] for unit in self.units]


def call_model(model: nn.Module, inputs: Any, forward: Forward | None) -> Any:
    """The model's outputs by a plain forward, uncompiled.

    Raises:
        InputError: the forward fails.
    """
    try:
        with run_eagerly():
            return model(inputs) if forward is None else forward(model, inputs)
    except InputError:
        raise
    except Exception as error:  # the user's forward can raise anything
        raise cannot_be_run(model, inputs, error) from error


def trainable(model: nn.Module) -> Weights:
    """The trainable weights by name, complex ones included.

    Raises:
        InputError: there are none.
    """
    weights: Weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not weights:
        raise InputError(f"{type(model).__name__} has no trainable weights, so a step changes nothing")
    return weights


def _accumulated(
    output: Tensor, row: Tensor | None, weights: Sequence[Tensor], *, retain_graph: bool
) -> list[Tensor | None]:
    """The gradients as hooks on their accumulation leave them, by a backward like that of training."""
    for w in weights:
        w.grad = None
    torch.autograd.backward([output], None if row is None else [row], retain_graph=retain_graph)
    gradients = [w.grad for w in weights]
    for w in weights:
        w.grad = None
    return gradients


def _dense(gradient: Tensor | None, weight: Tensor) -> Tensor:
    """A gradient of any layout as a dense tensor, zero where the weight has none."""
    if gradient is None:
        return torch.zeros_like(weight).detach()
    return (gradient.to_dense() if gradient.is_sparse else gradient).detach()


def has_checkpoints(outputs: Any) -> bool:
    """Whether reentrant checkpoints are in the graph, which only a plain backward runs."""
    pending = [leaf.grad_fn for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    seen: set[Any] = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        if node.name() == "CheckpointFunctionBackward":
            return True
        seen.add(node)
        pending += [parent for parent, _ in node.next_functions]
    return False


def _keep(found: dict[str, Tensor], name: str, z: Tensor) -> None:
    check_outside_transforms(name, z)
    found[name] = z.detach().clone()  # an activation may work in place


def _square(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor.detach())
    return norm.double().square()
