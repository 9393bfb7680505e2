"""The finite-depth law of a model of ours on a batch of images."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ammup.architecture.architecture import Architecture
from ammup.measurement.specification import MeasurementSpec
from ammup.theory.finite_depth import finite_depth_lr
from ammup.theory.loss_gradient import LossGradient

# The law works on matrices over pairs of positions of the whole batch; up to so many multiplications it takes seconds.
LAW_PRODUCTS = 10**11
# It takes the outputs for independent of the gradient they cause, which asks for fewer outputs than channels.
MANY_OUTPUTS = 4


def finite_depth_lrs(nets: Mapping[int, Architecture | None], spec: MeasurementSpec) -> Mapping[int, float] | None:
    """η* of the wide-limit law by depth.

    None where no law is known, as for models of other people or steps of other optimizers than SGD, or where it is
    expensive: several hundred positions in deep residual nets, for instance.

    Args:
        nets: the net of each depth; None where it is not of our families.
        spec: the batch and the objective of all of them.
    """
    targets = spec.targets
    described = isinstance(spec.loss, str) and spec.forward is None and spec.optimizer is None
    if not described or (targets is not None and targets.is_floating_point()):
        return None
    known = {depth: net for depth, net in nets.items() if net is not None and _applies(net, spec)}
    if len(known) < len(nets):
        return None
    classes = None if targets is None else targets.cpu().numpy()
    gradient = LossGradient(loss=str(spec.loss), part=spec.part, classes=classes)
    batch = spec.inputs.detach().cpu().double().numpy()
    return {depth: finite_depth_lr(net, batch, gradient) for depth, net in known.items()}


def affordable_images(nets: Iterable[Architecture | None], inputs: Float[Tensor, "B *shape"]) -> int:
    """For how many of the images the law of each net is computed in seconds; 0 where one is too many."""
    known = [net for net in nets if net is not None and net.has_law]
    return min((int(np.cbrt(LAW_PRODUCTS / _products(net))) // _positions(net, inputs[:1]) for net in known), default=0)


def _applies(net: Architecture, spec: MeasurementSpec) -> bool:
    few_outputs = MANY_OUTPUTS * net.out_features <= net.widths[-1] or spec.part == "label"
    affordable = net.has_law and _products(net) * _positions(net, spec.inputs) ** 3 <= LAW_PRODUCTS
    return few_outputs and affordable


def _positions(net: Architecture, inputs: Tensor) -> int:
    return inputs.numel() // net.in_features


def _products(net: Architecture) -> int:
    """Number of matrix products in the law."""
    blocks = net.depth if net.residual else net.depth - 1
    return blocks**2 if net.residual else 3 * blocks
