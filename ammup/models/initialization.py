"""Initialization of any module by the paper's fan-in variance rules (sections 2.3 and 3.2)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import index
from typing import SupportsIndex

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ammup.architecture.architecture import GAINS, READOUTS, SCALED
from ammup.arrays import Array
from ammup.errors import InputError, check_known
from ammup.models.depth import structure_of
from ammup.models.layers import WEIGHT_LAYERS
from ammup.models.streams import random_stream
from ammup.models.structure import WeightLayer
from ammup.theory.activations import ActivationMoments, moments_of, variance_gain


@lru_cache(maxsize=64)
def activation_moments(activation: Callable[[Tensor], Tensor]) -> ActivationMoments:
    """E φ², E φ'² and E φ'⁴ of any elementwise torch activation under a standard normal, by quadrature.

    Raises:
        InputError: the moments of the activation are not finite, or E φ² is 0.
    """

    def phi(z: Array) -> Array:
        with torch.no_grad():
            return np.asarray(activation(torch.tensor(z)).numpy())

    def derivative(z: Array) -> Array:
        point = torch.tensor(z, requires_grad=True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(activation(point).sum(), point)
        return np.asarray(gradient.numpy())

    moments = moments_of(phi, derivative)
    if not np.isfinite([moments.second, moments.derivative_second]).all() or moments.second == 0:
        raise InputError(f"activation {activation!r} has no finite, positive Gaussian second moment")
    return moments


def initialize_(
    model: nn.Module,
    *,
    gain: str = "forward",
    c: float = 2.0,
    scaled: str = "all",
    readout: str = "mean-field",
    blocks: Sequence[str] | None = None,
    activation: Callable[[Tensor], Tensor] | None = None,
    seed: int | None = None,
) -> pd.DataFrame:
    """Draw every weight of ``model`` in place from N(0, variance) and set every bias of a weight layer to zero.

    The variance of a weight layer is gain(φ)/fan_in after an activation φ, and 1/fan_in without an activation before
    the layer. In a residual branch it is c/(K fan_in), with K the number of residual blocks (section 3.2). For the
    readout it is 1/fan_in², or with ``readout="he"`` that of a plain layer. The fan-in of a convolution is its kernel
    cardinality times its input channels per group.

    Args:
        model: any module; only the weights and biases of linear and convolutional layers are changed.
        gain: "forward" (1/E φ²), "derivative" (1/E φ'²) or "paper" (2√2 for GELU, see
            :func:`ammup.theory.activations.variance_gain`).
        c: residual variance constant.
        scaled: "all" divides the variance of every branch layer by K, "last" only that of the last layer in a branch.
        readout: "mean-field" (variance 1/fan_in²) or "he".
        blocks: names of the residual blocks, for a model that cannot be traced. The weight layers are then taken in the
            order of ``named_modules``: the first reads raw inputs, the last is the readout, and all except the first
            follow ``activation``.
        activation: required with ``blocks``.
        seed: seed of the weights. The same seed gives the same weights; models with other parameter shapes (other
            depths) get independent weights. None draws from torch's global generator.

    Returns:
        A table with one row for each weight: parameter, rule, fan_in, variance.

    Raises:
        InputError: a name is unknown, or the structure of the model cannot be determined.

    Example:
        >>> import ammup
        >>> net = ammup.resnet(4, width=8, dims=0, in_channels=12, branch=1)
        >>> ammup.initialize_(net, c=1.0, seed=3).head(3)
                      parameter        rule  fan_in  variance
        0           stem.weight    1/fan_in      12  0.083333
        1  blocks.0.branch.0.weight  c/(K fan_in)       8  0.031250
        2  blocks.1.branch.0.weight  c/(K fan_in)       8  0.031250
    """
    for name, value, allowed in (("gain", gain, GAINS), ("scaled", scaled, SCALED), ("readout", readout, READOUTS)):
        check_known(name, value, allowed)
    if seed is not None and not isinstance(seed, SupportsIndex):
        raise InputError(f"seed={seed!r}: expected an integer, or None")
    if not (np.isfinite(c) and c > 0):
        raise InputError(f"c={c} must be positive and finite")
    layers, n_blocks = _layers(model, blocks, activation)
    parameters = dict(model.named_parameters())
    rows = []
    for layer in layers:
        fan_in = parameters[layer.weight][0].numel()
        rule, variance = _rule(layer, fan_in, n_blocks, gain=gain, c=c, scaled=scaled, readout=readout)
        rows.append({"parameter": layer.weight, "rule": rule, "fan_in": fan_in, "variance": variance})
    # The shapes are part of the key, so nets of different depth get independent weights.
    shapes = [(name, tuple(p.shape)) for name, p in model.named_parameters()]
    _draw_(model, rows, None if seed is None else random_stream("weights", index(seed), shapes))
    return pd.DataFrame(rows)


def _layers(
    model: nn.Module, blocks: Sequence[str] | None, activation: Callable[[Tensor], Tensor] | None
) -> tuple[tuple[WeightLayer, ...], int]:
    """(weight layers, number of residual blocks), from a trace of the model or from the names of its blocks."""
    if (blocks is None) != (activation is None):
        raise InputError("blocks= and activation= must be passed together: they describe a model that cannot be traced")
    if blocks is None:
        structure = structure_of(model)
        # Attention has several weights and no variance rule.
        return tuple(layer for layer in structure.layers if layer.weight), structure.n_blocks
    modules = dict(model.named_modules())
    unknown = sorted(set(blocks) - set(modules))
    names = [name for name, module in modules.items() if isinstance(module, WEIGHT_LAYERS)]
    if unknown or not names:
        raise InputError(f"blocks={unknown} are not modules of {type(model).__name__}, or it has no weight layers")
    owner = {name: next((b for b in blocks if name.startswith(f"{b}.")), None) for name in names}
    last_layers = {block: name for name, block in owner.items()}  # later layers overwrite earlier ones

    def role(name: str) -> str:
        block = owner[name]
        if block is not None:
            return "last" if last_layers[block] == name else "branch"
        return "readout" if name == names[-1] else "plain"

    return tuple(
        WeightLayer(name=name, weight=f"{name}.weight", role=role(name), activation=activation if i else None)
        for i, name in enumerate(names)
    ), len(blocks)


def _rule(
    layer: WeightLayer, fan_in: int, n_blocks: int, *, gain: str, c: float, scaled: str, readout: str
) -> tuple[str, float]:
    """(rule in words, variance) of one weight layer."""
    if layer.role == "readout" and readout == "mean-field":
        return "1/fan_in²", fan_in**-2.0
    if layer.role == "last" or (layer.role == "branch" and scaled == "all"):
        return "c/(K fan_in)", c / (n_blocks * fan_in)
    if layer.activation is None:
        return "1/fan_in", 1 / fan_in
    factor = variance_gain(activation_moments(layer.activation), gain)
    return f"{factor:.4g}/fan_in", factor / fan_in


@torch.no_grad()
def _draw_(model: nn.Module, rows: list[dict[str, object]], generator: torch.Generator | None) -> None:
    """Draw the weights of the table's rows in place, and set their biases to zero."""
    parameters = dict(model.named_parameters())
    variances = {str(row["parameter"]): float(str(row["variance"])) for row in rows}
    for name, variance in variances.items():
        weight = parameters[name]
        # Always drawn on the CPU in float32, so that the draw does not depend on the model's device and dtype.
        noise = torch.empty(weight.shape, dtype=torch.float32).normal_(0.0, 1.0, generator=generator)
        weight.copy_(noise.mul_(variance**0.5))
        bias = parameters.get(f"{name.removesuffix('weight')}bias")
        if bias is not None:
            bias.zero_()
