"""The measured dependence of η* on depth: weight draws at several depths, and a power law fitted to them.

:mod:`ammup.measurement.depth_exponent` measures it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.format import brief_repr, count_text, json_rows, range_text
from ammup.stats.power_law import (
    PowerLaw,
    fit_geometric_mean,
    fit_maximal_lr,
    fit_power_law,
    geometric_mean_of,
    maximal_lr_of,
)

# Above this coefficient of variation of S̄ between weight draws, a few draws dominate the mean, so its standard error
# is unreliable (a log-normal S̄ with this coefficient of variation has skewness 4).
SCATTER_LIMIT = 1.0
# A training step costs as much as three forward passes, because a backward pass costs as much as two. This is a small
# overestimate, because the gradient with respect to the images is not computed.
PASSES_PER_STEP = 3
# A measurement of S̄ costs about as much as this many training steps.
STEPS_PER_MEASUREMENT = 3


@dataclass(frozen=True, kw_only=True)
class DepthLaw:
    """Measured η* as a function of depth.

    Attributes:
        table: one row for each depth and seed: depth, seed, S_bar (at learning rate 1), lr_star = S_bar^(-1/2); for
            measure "sharpness" depth, seed, sharpness (the largest eigenvalue), lr_star (the edge of stability) and
            passes (through the model).
        units: for each depth the number of depth units of the model.
        S: for each depth S_l at learning rate 1, averaged over seeds; empty for measure "sharpness".
        power_law: the fit to η*(L) = (mean over seeds of S̄)^(-1/2), see
            :func:`ammup.stats.power_law.fit_maximal_lr`; for measure "sharpness" to the geometric mean of the edge.
        measure: "updates" or "sharpness".
        law: computes :attr:`finite_depth` on first access, because that can take longer than the measurement.
        signal: computes :attr:`signal_squares` on first access.
        gains: computes :attr:`weight_gains` on first access.
    """

    table: pd.DataFrame
    units: Mapping[int, int]
    S: Mapping[int, Array]
    power_law: PowerLaw
    measure: str = "updates"
    law: Callable[[], Mapping[int, float] | None] = field(default=lambda: None, repr=False, compare=False)
    signal: Callable[[], Mapping[int, Array]] = field(default=dict, repr=False, compare=False)
    gains: Callable[[], Mapping[int, float]] = field(default=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        return brief_repr(
            self,
            f"depths {range_text(self.units)}",
            count_text(self.draws, "weight draw"),
            lr_star=self.curve["lr_star"].tolist(),
            slope=self.power_law.slope,
            slope_ci=self.power_law.slope_ci,
        )

    @cached_property
    def finite_depth(self) -> Mapping[int, float] | None:
        """η* of the finite-depth law at the same depths, or None if no law is available for these models."""
        return self.law()

    @cached_property
    def signal_squares(self) -> Mapping[int, Array]:
        """For each depth the mean square of the pre-activations of every unit, of the first weight draw."""
        return self.signal()

    @cached_property
    def weight_gains(self) -> Mapping[int, float]:
        """For each depth the factor of the outputs if all weight matrices are doubled, of the first weight draw."""
        return self.gains()

    @property
    def reference(self) -> float | None:
        """Slope of the finite-depth law at the same depths, or None."""
        law = self.finite_depth
        return None if law is None else fit_power_law(list(law), list(law.values())).slope

    @property
    def draws(self) -> int:
        """Number of weight draws at each depth; 1 if the factory draws nothing at random."""
        return len(self.table) // len(self.units)

    @property
    def training_steps(self) -> float:
        """The cost of the measurement in training steps, each of which is counted as three passes through the model."""
        if self.measure == "updates":
            return float(STEPS_PER_MEASUREMENT * len(self.table))
        return float(self.table["passes"].sum() / PASSES_PER_STEP) if "passes" in self.table else float("nan")

    @property
    def curve(self) -> pd.DataFrame:
        """One row for each depth.

        Columns: depth; lr_star; se_log10, the standard error of log10 lr_star; local_slope, the slope from the previous
        depth; scatter, the coefficient of variation of S̄ (or of the sharpness) between seeds; seeds, their number.
        """
        column = "S_bar" if self.measure == "updates" else "sharpness"
        rows = []
        for depth, group in self.table.groupby("depth"):
            s = group[column]
            updates = self.measure == "updates"
            lr_star, se = maximal_lr_of(s.to_numpy()) if updates else geometric_mean_of(group["lr_star"].to_numpy())
            scatter = float(s.std(ddof=1) / s.mean()) if len(s) > 1 else float("nan")
            rows.append({"depth": depth, "lr_star": lr_star, "se_log10": se, "scatter": scatter, "seeds": len(s)})
        curve = pd.DataFrame(rows)
        slopes = np.diff(np.log(curve["lr_star"])) / np.diff(np.log(curve["depth"].astype(float)))
        curve.insert(3, "local_slope", np.append(np.nan, slopes))
        return curve

    def to_frame(self) -> pd.DataFrame:
        """One row for each depth: the columns of :attr:`curve`, and the fitted line: fitted, low, high (its band)."""
        curve = self.curve
        low, high = self.power_law.band(curve["depth"])
        return curve.assign(fitted=self.power_law.predict(curve["depth"]), low=low, high=high)

    def joined(self, other: "DepthLaw") -> "DepthLaw":
        """The law fitted to the weight draws of both laws, which must have the same depths and no common seed."""
        table = pd.concat([self.table, other.table]).sort_values(["depth", "seed"], ignore_index=True)
        if table.duplicated(["depth", "seed"]).any() or set(self.units) != set(other.units):
            raise InputError("laws with different depths or with common seeds cannot be joined")
        n, m = self.draws, other.draws
        return replace(
            self,
            table=table,
            S={depth: (n * self.S[depth] + m * other.S[depth]) / (n + m) for depth in self.S},
            power_law=fitted_power_law(table, self.measure, self.power_law.level),
        )

    @property
    def noisy_depths(self) -> tuple[int, ...]:
        """Depths at which S̄ scatters so much between seeds that its standard error is unreliable.

        There are none for measure "sharpness", whose mean is geometric.
        """
        if self.measure == "sharpness":
            return ()
        curve = self.curve
        return tuple(int(d) for d in curve["depth"][curve["scatter"] > SCATTER_LIMIT])

    def to_dict(self) -> dict[str, Any]:
        """A dict for JSON; NaN and infinite numbers become None."""
        return {
            "measure": self.measure,
            **self.power_law.to_dict(),
            "reference": self.reference,
            "noisy_depths": list(self.noisy_depths),
            "curve": json_rows(self.curve),
            "units": {str(depth): n for depth, n in self.units.items()},
            "S": {str(depth): s.tolist() for depth, s in self.S.items()},
            "draws": json_rows(self.table),
        }


def fitted_power_law(table: pd.DataFrame, measure: str, level: float) -> PowerLaw:
    """The power law of the weight draws in a table."""
    column, fit = ("S_bar", fit_maximal_lr) if measure == "updates" else ("lr_star", fit_geometric_mean)
    return fit({int(str(depth)): group.to_numpy() for depth, group in table.groupby("depth")[column]}, level=level)
