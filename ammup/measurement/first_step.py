"""The step that an optimizer takes for a given gradient, at learning rate 1."""

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ammup.errors import InputError

OptimizerFactory = Callable[[list[Tensor], float], Optimizer]
OptimizerLike = OptimizerFactory | Optimizer
# Relative tolerance of the check that steps are proportional to the learning rate; they are computed in float64.
LINEARITY_TOLERANCE = 1e-6


def inner_optimizer(optimizer: Any) -> Any:
    """The optimizer inside of a wrapper, such as those of accelerate and Lightning; anything else unchanged.

    A copy of a wrapper would take its steps with the original optimizer.
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return optimizer


def check_optimizes(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> None:
    """Raise InputError if the optimizer has none of these parameters of a model."""
    ids = {id(p) for p in parameters.values()}
    if not any(id(p) in ids for group in optimizer.param_groups for p in group["params"]):
        raise InputError("the optimizer has none of the model's parameters; build it from this model")


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """One step of an optimizer on copies of the weights; the original optimizer is not changed.

    Attributes:
        build: maps (copies of the weights, learning rate) to an optimizer of these copies, before its step.
    """

    build: Callable[[Mapping[str, Tensor], float], Optimizer]

    @classmethod
    def from_optimizer(cls, optimizer: OptimizerLike, parameters: Mapping[str, nn.Parameter]) -> "FirstStep":
        """The first step of ``optimizer(params, lr)``, or the next step of an existing optimizer with its state.

        The learning rate of an existing optimizer is that of its first group. The learning rates of the other groups
        keep their ratio to it.

        Raises:
            InputError: ``optimizer`` is neither, has none of the model's parameters, or has a learning rate of 0.
        """
        optimizer = inner_optimizer(optimizer)
        if not isinstance(optimizer, Optimizer):
            factory: OptimizerFactory = optimizer
            if not callable(factory):
                raise InputError(f"optimizer={optimizer!r}: expected optimizer(params, lr) or a torch.optim.Optimizer")
            return cls(build=lambda weights, lr: _new_optimizer(factory, weights, lr))
        check_optimizes(optimizer, parameters)
        names = {id(p): name for name, p in parameters.items()}
        if not optimizer.param_groups[0]["lr"] > 0:
            raise InputError(f"the optimizer's learning rate is {optimizer.param_groups[0]['lr']}; it must be positive")
        return cls(build=lambda weights, lr: _optimizer_copy(optimizer, names, weights, lr))

    def direction(self, weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Minus the change of every weight in one step at learning rate 1.

        Raises:
            InputError: the optimizer fails, or its step is not finite or not proportional to its learning rate.
        """
        full, half = (self._step(weights, gradient, lr) for lr in (1.0, 0.5))
        size = max(float(step.abs().max()) for step in full.values())
        if not all(torch.isfinite(step).all() for step in full.values()):
            raise InputError("the optimizer's step is not finite; check the weights, the gradient and its state")
        gap = max(float((full[name] - 2 * half[name]).abs().max()) for name in full)
        if not gap <= LINEARITY_TOLERANCE * size:
            raise InputError(
                "the optimizer's step is not proportional to its learning rate, so S̄(η) = 1 cannot be solved from one "
                "step; use an optimizer whose step is (SGD, momentum, Adam, AdamW, …)"
            )
        return {name: step.to(weights[name]) for name, step in full.items()}

    def _step(self, weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor], lr: float) -> dict[str, Tensor]:
        """Minus the change of every weight in one step at a learning rate, in float64."""
        # Not in the weights' own dtype, because the difference of the weights before and after the step loses digits.
        copies = {name: nn.Parameter(double_copy(w)) for name, w in weights.items()}
        for name, w in copies.items():
            w.grad = double_copy(gradient[name])
        try:
            with torch.enable_grad():
                self.build(copies, lr).step()
        except InputError:
            raise
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            raise InputError(f"the optimizer failed: {type(error).__name__}: {error}") from error
        return {name: double_copy(weights[name]) - w.detach() for name, w in copies.items()}


def _new_optimizer(factory: OptimizerFactory, weights: Mapping[str, Tensor], lr: float) -> Optimizer:
    """A new optimizer of these weights, from the user's factory."""
    optimizer = factory(list(weights.values()), lr)
    if not isinstance(optimizer, Optimizer):
        raise InputError(
            f"optimizer(params, lr) returned {type(optimizer).__name__}; it must return a torch.optim.Optimizer"
        )
    return optimizer


def _optimizer_copy(
    optimizer: Optimizer, names: Mapping[int, str], weights: Mapping[str, Tensor], lr: float
) -> Optimizer:
    """A copy of an optimizer with its state, for other tensors. ``names`` maps the ids of parameters to their names."""
    first = optimizer.param_groups[0]["lr"]
    copied = object.__new__(type(optimizer))
    # A scheduler replaces `step` on the optimizer, and hooks can have side effects, so the copy has neither.
    copied.__dict__.update({key: value for key, value in vars(optimizer).items() if key != "step"})
    for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        setattr(copied, hooks, OrderedDict())
    copied.param_groups = [
        {
            **copy.deepcopy({key: value for key, value in group.items() if key != "params"}),
            "params": [weights[name] for p in group["params"] if (name := names.get(id(p), "")) in weights],
            "lr": lr * float(group["lr"]) / float(first),
        }
        for group in optimizer.param_groups
    ]
    copied.state = defaultdict(dict)
    for p, state in optimizer.state.items():
        if (name := names.get(id(p), "")) in weights:
            copied.state[weights[name]] = {
                key: double_copy(value) if isinstance(value, Tensor) else copy.deepcopy(value)
                for key, value in state.items()
            }
    return copied


def double_copy(tensor: Tensor) -> Tensor:
    """A copy in double precision (integers stay integers); an optimizer may change it in place."""
    dtype = tensor.dtype
    if tensor.is_complex():
        dtype = torch.complex128
    elif tensor.is_floating_point():
        dtype = torch.float64
    return tensor.detach().to(dtype, copy=True)
