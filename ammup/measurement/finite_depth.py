"""The finite-depth law of a model of ours on a batch of images."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from ammup.measurement.loss import Objective
from ammup.models.nets import CNN, MLP, ResNet
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.wide_limit import unit_moments
from ammup.theory.wide_net import WideNet

# The law works on matrices over pairs of positions of the whole batch; up to so many multiplications it takes seconds.
LAW_PRODUCTS = 10**11
# It takes the outputs for independent of the gradient they cause, which asks for fewer outputs than channels.
MANY_OUTPUTS = 4


def known_law(model: nn.Module) -> WideNet | None:
    """The net as the law sees it; None for one that is not of our families, or that has no law."""
    return model.law if isinstance(model, MLP | CNN | ResNet) else None


def finite_depth_lrs(
    laws: Mapping[int, WideNet | None],
    inputs: Any,
    targets: Tensor | None,
    objective: Objective,
) -> Mapping[int, float] | None:
    """η* of the wide-limit law by depth.

    None where the law is not known or is costly: several hundred positions in deep residual nets, for instance.

    Args:
        laws: the net of each depth.
        inputs: (B, …), one batch for all of them; of any other structure where a net has no law.
        targets: class indices, or None for drawn labels.
        objective: loss and part.
    """
    if not isinstance(objective.loss, str) or (targets is not None and targets.is_floating_point()):
        return None
    known = {depth: law for depth, law in laws.items() if law is not None and _applies(law, inputs, objective)}
    if len(known) < len(laws):
        return None
    classes = None if targets is None else targets.cpu().numpy()
    gradient = LossGradient(loss=objective.loss, part=objective.part, classes=classes)
    batch = inputs.detach().cpu().double().numpy()
    return {depth: float(unit_moments(law, batch, gradient).mean()) ** -0.5 for depth, law in known.items()}


def affordable_images(laws: Iterable[WideNet | None], inputs: Float[Tensor, "B *shape"]) -> int:
    """How many of the images each of the laws takes in seconds; 0 where one is too many."""
    known = [law for law in laws if law is not None]
    return min((int(np.cbrt(LAW_PRODUCTS / _products(law))) // _positions(law, inputs[:1]) for law in known), default=0)


def _applies(law: WideNet, inputs: Tensor, objective: Objective) -> bool:
    few_outputs = MANY_OUTPUTS * law.readout.fan_out <= law.readout.fan_in or objective.part == "label"
    return few_outputs and _products(law) * _positions(law, inputs) ** 3 <= LAW_PRODUCTS


def _positions(law: WideNet, inputs: Tensor) -> int:
    return inputs.numel() // law.stem.fan_in


def _products(law: WideNet) -> int:
    """Matrix products that the law takes."""
    return len(law.blocks) ** 2 if law.residual else 3 * len(law.blocks)
