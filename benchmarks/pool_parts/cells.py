"""The nets of the pools: the families of the claims, cheap to draw, with S̄ as skewed as in the claims or more.

The distribution of S̄ depends mainly on 8 L/n, so a narrow net has the skewness of a wide and deep one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ammup.claims.draws import Setting
from ammup.claims.statements.settings import DENSE, FIELD, IMAGES, MLP, PLANE


@dataclass(frozen=True, kw_only=True)
class PoolCell:
    """One pool.

    Attributes:
        setting: the nets, with one column for each depth.
        controlled: whether the control variate of dense nets is stored as well.
    """

    setting: Setting
    controlled: bool = False


def _field(channels: int) -> Setting:
    narrow = FIELD.at(2, 8).with_arguments(width=channels, in_channels=channels, out_channels=channels)
    return replace(narrow, inputs=("noise", 1, channels, 5, 5))


_DENSE, _RESIDUAL, _IMAGES = MLP.at(2, 8), DENSE.at(4, 12).of_width(64).with_arguments(branch=2), IMAGES.at(4, 12)

CELLS: Mapping[str, PoolCell] = {
    "dense-32": PoolCell(setting=MLP.at(2, 4, 8).of_width(32), controlled=True),
    "dense-64": PoolCell(setting=_DENSE.of_width(64), controlled=True),
    "dense-128": PoolCell(setting=_DENSE.of_width(128), controlled=True),
    "dense-gelu-64": PoolCell(setting=_DENSE.of_width(64).with_arguments(activation="gelu", gain="forward")),
    "field-2d-16": PoolCell(setting=_field(16)),
    "field-2d-32": PoolCell(setting=_field(32)),
    "pooled-16": PoolCell(setting=PLANE.at(2, 6).with_arguments(width=16)),
    "pooled-gelu-32": PoolCell(setting=PLANE.at(2, 6).with_arguments(width=32, activation="gelu")),
    "residual-dense-64": PoolCell(setting=_RESIDUAL),
    "residual-dense-last-64": PoolCell(setting=_RESIDUAL.with_arguments(scaled="last")),
    "residual-2d-16": PoolCell(setting=_IMAGES.with_arguments(width=16)),
    "residual-2d-batch-norm-16": PoolCell(setting=_IMAGES.with_arguments(width=16, batchnorm=True)),
}
