"""Second moments of the tangent vectors of depth units, which the lemmas call T_h."""

import numpy as np
from torch import Tensor

from ammup.arrays import Array
from ammup.claims.draws import Seeds, Setting, random_direction, step_of


def mean_square(z: Tensor) -> float:
    """The mean of the squared entries, in double precision."""
    return float(z.double().square().mean())


def tangent_moments(setting: Setting, names: tuple[str, ...], units: tuple[str, ...], seeds: Seeds) -> Array:
    """T_h(µ, µ) of each unit for one random direction µ in the named weights per draw, shape (D, U).

    T_h(µ, µ) is the mean square of the derivative of the pre-activations z_h along µ.
    """
    rows = []
    for seed in seeds:
        step = step_of(setting, seed, units=units)
        rows.append([mean_square(t) for t in step.unit_tangents(random_direction(step, names, seed))])
    return np.array(rows)
