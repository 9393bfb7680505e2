"""`UpdateMoments`, the result of a measurement: the second moments S_l of every depth unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.format import brief_repr, count_text

if TYPE_CHECKING:  # imported when a table is made
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class UpdateMoments:
    """Second moments of one SGD step at learning rate 1, for one weight draw.

    Attributes:
        units: names of the depth units.
        S: S_l, the mean over samples, channels and positions of (Δz)², averaged over label draws; one value per unit.
        S_bar_se: standard error of ``S_bar`` over label draws; 0 for given targets, NaN for a single draw.
        gradient_squares: squared norm of the loss gradient of each weight, averaged over label draws like S.
        method: "jvp" or "difference", the method that was used; see :mod:`ammup.measurement.method`.
        reason: why not "jvp" in the precision of the model, but "jvp" in float64 or "difference"; otherwise empty.
        error: estimate of the relative numerical error of ``S_bar``. For "jvp", it is estimated from the difference
            between its two passes and from the amplification of rounding errors; for "difference", from the relative
            curvature of the units.
    """

    units: tuple[str, ...]
    S: Array
    S_bar_se: float
    gradient_squares: Mapping[str, float]
    method: str = "jvp"
    reason: str = ""
    error: float = 0.0

    def __repr__(self) -> str:
        return brief_repr(
            self,
            count_text(len(self.units), "unit"),
            S=self.S.tolist(),
            S_bar=self.S_bar,
            lr_star=self.lr_star,
            method=self.method,
            error=self.error,
        )

    @property
    def S_bar(self) -> float:  # noqa: N802  (the paper's symbol)
        """S̄ = (1/L) Σ S_l, the arithmetic mean over the units."""
        return float(self.S.mean())

    @property
    def lr_star(self) -> float:
        """η* = S̄^(-1/2), the learning rate at which S̄ = 1; infinite if S̄ = 0."""
        return self.S_bar**-0.5 if self.S_bar > 0 else float("inf")

    def to_frame(self) -> "pd.DataFrame":
        """One row for each depth unit: unit, its name; S, its S_l at learning rate 1."""
        import pandas as pd

        return pd.DataFrame({"unit": self.units, "S": self.S})


def combined_moments(
    units: tuple[str, ...], weights: Sequence[str], fixed: Sequence[Array], drawn: Sequence[Array]
) -> UpdateMoments:
    """The sum of the fixed rows plus the mean of the drawn rows.

    Args:
        units: names of the units.
        weights: names of the weights.
        fixed: rows with S_l of every unit, the relative error, and the squared gradient norm of every weight.
        drawn: rows of the drawn labels, with the same elements.

    Raises:
        InputError: S_l of a unit is not finite.
    """
    n_units = len(units)
    sums = np.sum([*fixed, np.zeros(n_units + 1 + len(weights))], axis=0)
    se = 0.0
    if len(drawn):
        sums = sums + np.mean(drawn, axis=0)
        means = np.mean(np.asarray(drawn)[:, :n_units], axis=1)
        se = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")
    S = sums[:n_units]
    if not np.isfinite(S).all():
        unit = units[int(np.argmin(np.isfinite(S)))]
        raise InputError(f"S_l of unit {unit!r} is not finite; check the weights and the inputs, or use float64")
    squares = dict(zip(weights, sums[n_units + 1 :].tolist(), strict=True))
    error = max(float(row[n_units]) for row in (*fixed, *drawn))
    return UpdateMoments(units=units, S=S, S_bar_se=se, gradient_squares=squares, error=error)


def to_numpy(tensor: Tensor) -> Array:
    """A tensor on any device as a float64 array."""
    return np.asarray(tensor.detach().cpu().double().numpy())
