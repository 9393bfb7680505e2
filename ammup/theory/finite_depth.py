"""The finite-depth law: η*(L) in the wide limit at any depth, including depths too small for the power law."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ammup.architecture.architecture import FAMILIES, Activation, Architecture
from ammup.architecture.kernels import Kernel
from ammup.arrays import Array
from ammup.errors import InputError, check_known
from ammup.stats.depths import checked_depths
from ammup.theory.activations import CLOSED_FORMS
from ammup.theory.loss_gradient import LossGradient
from ammup.theory.mean_moment import mean_unit_moments
from ammup.theory.wide_limit import checked_batch, unit_moments, unit_moments_of_noise
from ammup.theory.wide_net import WideNet, wide_net

Widths = int | Callable[[int], Sequence[int]]


def finite_depth_law(
    depths: Sequence[int] | ArrayLike,
    *,
    family: str,
    activation: Activation = "relu",
    gain: str = "forward",
    c: float = 2.0,
    branch: int | Sequence[str] = 1,
    scaled: str = "all",
    readout: str = "he",
    width: Widths | None = None,
    in_features: int | None = None,
    out_features: int | None = None,
    input_power: float = 1.0,
    kernel: Kernel = 3,
    padding: str = "circular",
    head: str = "field",
    positions: tuple[int, ...] = (),
    inputs: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    loss: str = "mse",
    part: str = "label",
    label_variance: float = 1.0,
) -> Array:
    """η* at each depth in the limit of wide layers, with its constants; docs/explanation/wide_limit.md derives it.

    Args:
        depths: depths L, integers of at least 1.
        family: "mlp", "cnn" (stride 1) or "resnet" (K = L blocks after a trained stem; convolutional if there are
            positions, otherwise dense).
        activation: "relu", "gelu", "linear", or a pair of functions φ and φ'.
        gain: the variance rule of layers after an activation, see :func:`ammup.theory.activations.variance_gain`.
        c: the residual variance constant of the paper's section 3.2.
        branch: number of layers in a residual branch, or a sequence of their kinds such as ("conv", "dense").
        scaled: "all" if every branch layer has variance c/(K fan_in), "last" if only the last layer of each branch has.
        readout: "he" (the variance of a plain layer) or "mean-field" (1/width²; needs ``width``).
        width: n or C; for plain nets also a function from depth to the widths of the layers. If it is not given, the
            input, the layers and the output have equal widths.
        in_features: features of a sample, or channels at each position.
        out_features: M, the number of outputs, or of outputs at each position.
        input_power: used without ``inputs``, where the law is that of a single sample: the mean square of its features
            or, with ``positions``, the variance of its white noise.
        kernel: kernel of every convolution: an int, a tuple of ints, or a list of offsets.
        padding: padding of every convolution: "circular" or "zero".
        head: head of a convolutional net: "field" or "pool".
        positions: size of each position axis, used without ``inputs``; by default (8,) for a "cnn".
        inputs: a batch (B, d), or ``(B, channels, *positions)``.
        targets: class indices, see :class:`ammup.theory.loss_gradient.LossGradient`; None for random labels.
        loss: "mse" or "cross_entropy".
        part: the part of the loss gradient: "label", "output" or "total"; the last two assume M ≪ width.
        label_variance: σ_y² of random labels under mse.

    Returns:
        η*(L) = S̄(η=1)^(-1/2), one value per depth.

    Raises:
        InputError: a name is unknown, a depth is invalid, or ``width`` is missing although another size, the readout,
            the loss or the part depends on it.

    Example:
        >>> from ammup import finite_depth_law
        >>> finite_depth_law([2, 4, 8, 16], family="mlp").round(4).tolist()
        [0.6172, 0.331, 0.1541, 0.064]
        >>> finite_depth_law([4, 64], family="resnet", c=2.0).round(4).tolist()
        [0.1703, 0.0164]
        >>> finite_depth_law([2, 8], family="cnn", kernel=3, positions=(8,)).round(3).tolist()
        [1.619, 0.363]
    """
    check_known("family", family, FAMILIES)
    batch = _batch(inputs, flat=family == "mlp")
    if width is None and (readout == "mean-field" or (out_features, in_features) != (None, None)):
        raise InputError("readout='mean-field', in_features= and out_features= require width=; pass width=")
    if (loss, part) != ("mse", "label") and None in (width, out_features):
        raise InputError(f"loss={loss!r}, part={part!r} depend on the sizes: give width= and out_features=")
    default_positions = (8,) if family == "cnn" else ()
    shape = (positions or default_positions) if batch is None else batch.shape[2:]
    gradient = LossGradient(
        loss=loss,
        part=part,
        label_variance=label_variance,
        classes=None if targets is None else np.asarray(targets, dtype=np.int64),
    )

    settings = partial(
        Architecture,
        family=family,
        dims=0 if family == "mlp" else len(shape),
        kernel=kernel,
        padding=padding,
        head=head,
        activation=activation,
        gain=gain,
        readout=readout,
        branch=branch,
        c=c,
        scaled=scaled,
    )
    given_fan_in = in_features if in_features or batch is None else batch.shape[1]

    nets = []
    for depth in checked_depths(depths):
        sizes = _sizes_at(depth, width, fan_in=given_fan_in, fan_out=out_features, residual=family == "resnet")
        nets.append(wide_net(settings(depth=depth, **sizes)))
    if batch is None:
        noise = (unit_moments_of_noise(net, shape, gradient, power=input_power) for net in nets)
        return np.array([S.mean() ** -0.5 for S in noise])
    return _lrs(nets, batch, gradient)


def finite_depth_lrs(architectures: Sequence[Architecture], inputs: ArrayLike, gradient: LossGradient) -> Array:
    """η* of the finite-depth law for nets on a batch (B, d) or (B, channels, *positions), one value for each net."""
    return _lrs([wide_net(architecture) for architecture in architectures], inputs, gradient)


def _lrs(nets: Sequence[WideNet], inputs: ArrayLike, gradient: LossGradient) -> Array:
    if any(net.activation not in CLOSED_FORMS for net in nets):
        return np.array([unit_moments(net, inputs, gradient).mean() ** -0.5 for net in nets])
    batches = [checked_batch(net, inputs) for net in nets]
    return np.asarray(np.array(mean_unit_moments(nets, batches[0], gradient)) ** -0.5)


def _batch(inputs: ArrayLike | None, *, flat: bool) -> Array | None:
    """The inputs as an array, each sample flattened if ``flat``."""
    batch = None if inputs is None else np.asarray(inputs, dtype=np.float64)
    return batch.reshape(len(batch), -1) if batch is not None and flat else batch


def _sizes_at(
    depth: int, width: Widths | None, *, fan_in: int | None, fan_out: int | None, residual: bool
) -> dict[str, Any]:
    """The width, in_features and out_features of an Architecture of this depth."""
    widths = _widths_at(depth, width)
    in_features = fan_in or widths[0]
    if width is None:
        widths = [in_features] * depth
    if residual and len(set(widths)) > 1:
        raise InputError(
            f"width gives {widths} at depth {depth}; all blocks of a residual net must have the same width"
        )
    return {
        "width": widths[0] if residual else widths,
        "in_features": in_features,
        "out_features": fan_out or widths[-1],
    }


def _widths_at(depth: int, width: Widths | None) -> list[int]:
    """The width of every layer of a net of this depth."""
    if width is None or isinstance(width, int):
        return [width or 1] * depth
    widths = list(width(depth))
    if len(widths) != depth or not all(isinstance(n, int) and n > 0 for n in widths):
        raise InputError(f"width gives {widths} at depth {depth}; it must give one positive width for each layer")
    return widths


def effective_depth(lr_star: ArrayLike) -> Array:
    """The effective depth L_eff = S̄_law^(1/3) = η*_law^(-2/3) at each depth, so that the law is η* = L_eff^(-3/2).

    As a function of L_eff, the law has a slope of exactly -3/2 at all depths, and a measured curve that follows the law
    has the same slope. A fit against L_eff therefore tests the paper's exponent also at small depths.

    Args:
        lr_star: η* of the law, as :func:`finite_depth_law` returns it.

    Raises:
        InputError: a value is not positive and finite.

    Example:
        >>> import numpy as np
        >>> law = finite_depth_law([2, 4, 8], family="mlp")
        >>> slope = np.polyfit(np.log(effective_depth(law)), np.log(law), 1)[0]
        >>> round(float(slope), 9)
        -1.5
    """
    values = np.asarray(lr_star, dtype=np.float64)
    if not (values.size and np.all(np.isfinite(values) & (values > 0))):
        raise InputError(f"lr_star={values.tolist()} must be positive and finite")
    return np.asarray(values ** (-2 / 3))
