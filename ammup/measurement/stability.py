"""The learning rate at which an optimizer becomes unstable, from the curvature of the loss.

Close to a minimum in one direction, where the loss is ½ λ x², the iteration of gradient descent converges for
η λ < 2. With momentum β, the iteration of two variables (x and its velocity) converges up to other limits of η λ:

* heavy ball with dampening τ: 2 (1 + β) / (1 - τ)
* Nesterov's, as in torch.optim.SGD: 2 (1 + β) / (1 + 2 β)
* exponential mean of gradients, as in Adam: 2 (1 + β₁) / (1 - β₁)

(Cohen et al., arXiv 2103.00065, and for adaptive optimizers arXiv 2207.14484.) If an optimizer divides the gradient
elementwise by a slowly changing P, these are the limits for the eigenvalues of P⁻¹ M, where M is the curvature matrix.
A learning rate for each weight multiplies the rows of M. With A the ratio of both, A M has the eigenvalues of the
symmetric matrix √A M √A.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.measurement.first_step import FirstStep, double_copy
from ammup.measurement.weight_space import WeightSpace

ADAPTIVE = (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
SUPPORTED = (torch.optim.SGD, *ADAPTIVE)


@dataclass(frozen=True, kw_only=True)
class Stability:
    """How an optimizer turns the gradient into a step, in one vector of all weights.

    Attributes:
        root: √A, where A is the learning rate of each weight divided by the first group's, and by the preconditioner.
        decay: the coupled weight decay of each weight, which is added to the diagonal of the curvature matrix.
        limit: the largest stable product of the learning rate and an eigenvalue; 2 for gradient descent.
    """

    root: Array
    decay: Array
    limit: float = 2.0

    def product(self, curvature: Callable[[Array], Array], vector: Array) -> Array:
        """√A (M + weight decay) √A times a vector, from products with the curvature matrix M."""
        scaled = self.root * vector
        return self.root * (curvature(scaled) + self.decay * scaled)

    @classmethod
    def from_factors(cls, space: WeightSpace, factors: Mapping[str, float]) -> "Stability":
        """Gradient descent with a factor of the learning rate for some weights."""
        return cls(root=np.sqrt(space.constant(factors, 1.0)), decay=space.constant({}, 0.0))

    @classmethod
    def from_step(
        cls, step: FirstStep, space: WeightSpace, gradient: Mapping[str, Tensor], factors: Mapping[str, float]
    ) -> "Stability":
        """The next step of an optimizer, for a gradient; its preconditioner includes that gradient.

        Raises:
            InputError: the stability limit of this optimizer or of these options is not known.
        """
        optimizer, copies = _stepped(step, space.weights, gradient)
        names = {id(p): name for name, p in copies.items()}
        limits, scales, decays = set[float](), dict[str, Tensor | float](), dict[str, Tensor | float]()
        for group in optimizer.param_groups:
            limits.add(_limit(type(optimizer), group))
            for p in group["params"]:
                name = names[id(p)]
                rate = float(group["lr"]) * factors.get(name, 1.0)
                scales[name] = rate / _preconditioner(type(optimizer), group, optimizer.state.get(p, {}))
                decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW))
                decays[name] = 0.0 if decoupled else float(group["weight_decay"])
        if len(limits) > 1:
            raise InputError(
                "the stability limit of an optimizer whose groups have different momenta is not known; give all groups "
                "the same momentum"
            )
        root = np.sqrt(space.constant(scales, 0.0))  # a weight in no group does not move
        return cls(root=root, decay=space.constant(decays, 0.0), limit=limits.pop())


def _stepped(
    step: FirstStep, weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor]
) -> tuple[Optimizer, dict[str, nn.Parameter]]:
    """A copy of the optimizer after its next step at learning rate 1, and its weights."""
    copies = {name: nn.Parameter(double_copy(w)) for name, w in weights.items()}
    for name, w in copies.items():
        w.grad = double_copy(gradient[name])
    optimizer = step.build(copies, 1.0)
    if type(optimizer) not in SUPPORTED:
        raise InputError(
            f"the stability limit of {type(optimizer).__name__} is not known; expected one of torch.optim's "
            f"{', '.join(kind.__name__ for kind in SUPPORTED)}, or optimizer=None for gradient descent"
        )
    try:
        with torch.enable_grad():
            optimizer.step()
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"the optimizer failed: {type(error).__name__}: {error}") from error
    return optimizer, copies


def _limit(kind: type[Optimizer], group: Mapping[str, Any]) -> float:
    """The largest stable η λ of a group."""
    if group["maximize"]:
        raise InputError("the optimizer maximizes the loss, for which no learning rate is stable; use maximize=False")
    if kind is torch.optim.SGD:
        beta = float(group["momentum"])
        if group["nesterov"]:
            return 2 * (1 + beta) / (1 + 2 * beta)
        return 2 * (1 + beta) / (1 - float(group["dampening"])) if beta else 2.0
    if kind is torch.optim.RMSprop:
        return 2 * (1 + float(group["momentum"]))
    beta = float(group["betas"][0])
    return 2 * (1 + beta) / (1 - beta)


def _preconditioner(kind: type[Optimizer], group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor | float:
    """What a group divides the gradient by, elementwise, including the bias corrections of Adam."""
    if kind is torch.optim.SGD:
        return 1.0
    if kind is torch.optim.RMSprop:
        mean = _real(state["square_avg"])
        if group["centered"]:
            mean = mean - _real(state["grad_avg"]).square()
        return torch.sqrt(mean) + float(group["eps"])
    step = float(state["step"])
    beta1, beta2 = (float(beta) for beta in group["betas"])
    square = _real(state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"])
    denominator = torch.sqrt(square) / (1 - beta2**step) ** 0.5 + float(group["eps"])
    preconditioner: Tensor = (1 - beta1**step) * denominator
    return preconditioner


def _real(mean: Tensor) -> Tensor:
    """The mean of each real and imaginary part of a complex weight, or that of a real weight."""
    return torch.view_as_real(mean) if mean.is_complex() else mean
