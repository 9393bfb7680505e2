"""The estimates whose intervals are calibrated: log η* of one depth, slopes of log η*, and differences of slopes."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pool_parts.cells import CELLS
from pool_parts.resampling import Case
from pool_parts.store import path_of, read

# Pools whose slopes are subtracted: the second minus the first, as in claims about GELU, scaling and batch norm.
DIFFERENCES = (
    ("dense-64", "dense-gelu-64"),
    ("residual-dense-64", "residual-dense-last-64"),
    ("residual-2d-16", "residual-2d-batch-norm-16"),
)


def _pool(name: str) -> dict[str, NDArray[np.float64]]:
    return read(path_of(name))


def _slope_weights(depths: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = np.log(depths) - np.log(depths).mean()
    return np.asarray(-0.5 * centred / (centred @ centred))


def cases() -> Iterator[Case]:
    """Every case whose pools are stored."""
    pools = {name: _pool(name) for name in CELLS if path_of(name).exists()}
    for name, pool in pools.items():
        for column, depth in enumerate(pool["depths"]):
            yield Case(
                name=f"{name}, L = {depth:.0f}",
                pools=(pool["S_bar"][:, [column]],),
                controls=(None,),
                weights=np.array([-0.5]),
            )
        weights = _slope_weights(pool["depths"])
        yield Case(name=f"{name}, slope", pools=(pool["S_bar"],), controls=(None,), weights=weights)
        if "control" in pool:
            yield Case(
                name=f"{name}, slope, controlled", pools=(pool["S_bar"],), controls=(pool["control"],), weights=weights
            )
    for first, second in DIFFERENCES:
        if first in pools and second in pools:
            one, other = pools[first], pools[second]
            weights = np.append(-_slope_weights(one["depths"]), _slope_weights(other["depths"]))
            draws = (one["S_bar"], other["S_bar"])
            yield Case(name=f"{second} minus {first}, slopes", pools=draws, controls=(None, None), weights=weights)
