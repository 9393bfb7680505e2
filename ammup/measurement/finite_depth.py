"""The finite-depth law of a net from the library's families, on a batch of images."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ammup.architecture.architecture import Architecture
from ammup.measurement.specification import MeasurementSpec
from ammup.theory.activations import CLOSED_FORMS
from ammup.theory.finite_depth import finite_depth_lrs as law_of_architectures
from ammup.theory.loss_gradient import LossGradient

# The number of elements of matrices over pairs of positions that the law may compute: half a minute on two cores.
LAW_ELEMENTS = 1.5e9
# Twelve such matrices are in memory at a time, of 4 bytes for each element.
LAW_POSITIONS = 6144
# Smooth activations, whose law is computed one unit after the other: scalar multiplications of matrix products.
SMOOTH_LAW_PRODUCTS = 10**11
# The law assumes that the outputs are independent of the gradient they cause. The width must be at least this many
# times the number of outputs.
MANY_OUTPUTS = 4


def finite_depth_lrs(nets: Mapping[int, Architecture | None], spec: MeasurementSpec) -> Mapping[int, float] | None:
    """η* of the wide-limit law, by depth.

    None if there is no law (for example for models that are not from the library's families, or for other optimizers
    than SGD), or if it is too expensive (more than `LAW_POSITIONS` positions, or fewer in deep residual nets and
    with smooth activations).

    Args:
        nets: the net of each depth; None for a net that is not from the library's families.
        spec: the batch and the objective of all nets.
    """
    targets = spec.targets if isinstance(spec.targets, Tensor) else None
    has_law = isinstance(spec.objective.loss, str) and spec.forward is None and spec.optimizer is None
    if not has_law or (targets is not None and targets.is_floating_point()):
        return None
    covered = {depth: net for depth, net in nets.items() if net is not None and _applies(net, spec)}
    if len(covered) < len(nets):
        return None
    classes = None if targets is None else targets.cpu().numpy()
    gradient = LossGradient(loss=str(spec.objective.loss), part=spec.part, classes=classes)
    batch = spec.inputs.detach().cpu().double().numpy()
    lrs = law_of_architectures(list(covered.values()), batch, gradient)
    return {depth: float(lr) for depth, lr in zip(covered, lrs, strict=True)}


def affordable_images(nets: Iterable[Architecture | None], inputs: Float[Tensor, "B *shape"]) -> int:
    """The largest number of images for which the law of every net is computed in seconds; 0 if there is none."""
    limits = [_most_positions(net) // _positions(net, inputs[:1]) for net in nets if net is not None and net.has_law]
    return min(limits, default=0)


def _applies(net: Architecture, spec: MeasurementSpec) -> bool:
    """Whether the law of a net describes this measurement and can be computed in seconds."""
    few_outputs = MANY_OUTPUTS * net.out_features <= net.widths[-1] or spec.part == "label"
    return few_outputs and net.has_law and _positions(net, spec.inputs) <= _most_positions(net)


def _positions(net: Architecture, inputs: Tensor) -> int:
    """Number of positions in all samples."""
    return inputs.numel() // net.in_features


def _most_positions(net: Architecture) -> int:
    """The number of positions in a batch for which the law of a net is computed in seconds."""
    blocks = net.depth if net.residual else net.depth - 1
    if net.activation not in CLOSED_FORMS:
        products = blocks**2 if net.residual else 3 * max(blocks, 1)
        return int(np.cbrt(SMOOTH_LAW_PRODUCTS / products))
    layers = blocks * len(net.branch_kinds) if net.residual else net.depth
    pairs = blocks**2 // 2 if net.residual else 0
    return min(LAW_POSITIONS, int(np.sqrt(LAW_ELEMENTS / (layers + pairs))))
