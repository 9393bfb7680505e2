"""The finite-depth law: what η*(L) is at the depths that are measured, before its limit is reached."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ammup.errors import InputError
from ammup.fitting.activations import Array
from ammup.fitting.dense import DenseNet
from ammup.fitting.positions import Kernel, PlainNet, kernel_offsets
from ammup.fitting.power_law import checked_depths


def finite_depth_law(
    depths: Sequence[int] | ArrayLike,
    *,
    family: str,
    activation: str = "relu",
    gain: str = "forward",
    c: float = 2.0,
    readout: str = "he",
    width: int | None = None,
    in_features: int | None = None,
    out_features: int | None = None,
    input_power: float = 1.0,
    label_variance: float = 1.0,
    kernel: Kernel = 3,
    padding: str = "circular",
    positions: tuple[int, ...] = (8,),
    inputs: ArrayLike | None = None,
) -> Array:
    """η* at each depth, with its constants: loss mse, label part, wide limit.

    The derivations stand at the top of `ammup.fitting.dense` and `ammup.fitting.positions`.

    Args:
        depths: depths L, whole numbers of at least 1.
        family: "mlp" (plain layers), "resnet" (dense, one weight layer in a block, Var[W] = c/(K n), trained stem), or
            "cnn" (stride 1, field head).
        activation: "relu", "gelu" or "linear".
        gain: the variance rule of plain layers behind an activation, see :func:`variance_gain`.
        c: the residual variance constant of the paper's section 3.2.
        readout: "he" (variance like a plain layer) or "mean-field" (1/width²; needs ``width``).
        width: n. Where it and ``in_features`` or ``out_features`` are not given, their ratio is 1.
        in_features: d, the number of input features, or of channels at each position of a "cnn".
        out_features: M, the number of outputs, or of outputs at each position.
        input_power: ‖x‖²/d of the one sample; unused where ``inputs`` are given and in a "cnn".
        label_variance: σ_y².
        kernel: of a "cnn": an int, a tuple of ints, or a list of offsets.
        padding: of a "cnn": "circular" or "zero".
        positions: of a "cnn" without ``inputs``: the size of each axis of one sample of white noise of variance 1.
        inputs: a batch (B, d) for "mlp" or (B, channels, *positions) for "cnn"; labels are drawn for every sample.

    Returns:
        η*(L) = S̄(η=1)^(-1/2), one value per depth.

    Raises:
        InputError: an unknown name or an unusable depth.

    Example:
        >>> from ammup import finite_depth_law
        >>> finite_depth_law([2, 4, 8, 16], family="mlp").round(4).tolist()
        [0.6172, 0.331, 0.1541, 0.064]
        >>> finite_depth_law([4, 64], family="resnet", c=2.0).round(4).tolist()
        [0.1703, 0.0164]
        >>> finite_depth_law([2, 8], family="cnn", kernel=3, positions=(8,)).round(3).tolist()
        [1.619, 0.363]
    """
    wanted = checked_depths(depths)
    batch = None if inputs is None else np.asarray(inputs, dtype=np.float64)
    if family == "cnn" or (family == "mlp" and batch is not None):
        if width is None and (readout == "mean-field" or out_features is not None):
            raise InputError(f"readout={readout!r}, out_features={out_features}: give width= as well")
        axes = 0 if family == "mlp" else len(positions) if batch is None else batch.ndim - 2
        fan_in = in_features or (width or 1 if batch is None else batch.shape[1])
        net = PlainNet(
            width=width or fan_in,
            in_features=fan_in,
            out_features=out_features or width or fan_in,
            offsets=kernel_offsets(kernel, axes) if axes else ((),),
            padding=padding,
            activation=activation,
            gain=gain,
            readout=readout,
        )
        if batch is None:
            return np.array([net.lr_star_of_noise(d, positions, label_variance=label_variance) for d in wanted])
        return np.array([net.lr_star(d, batch, label_variance=label_variance) for d in wanted])
    if batch is not None:
        raise InputError(f"inputs= of family={family!r}: the law is known for one sample only; give input_power=")
    dense = DenseNet(
        family=family,
        activation=activation,
        gain=gain,
        c=c,
        readout=readout,
        width=width,
        in_features=in_features,
        out_features=out_features,
    )
    return np.array([dense.lr_star(d, input_power=input_power, label_variance=label_variance) for d in wanted])
