"""How the best learning rate of a sweep falls with depth, with its uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ammup.errors import check_known
from ammup.format import json_rows
from ammup.stats.peak import OPTIMA, Optimum, optimum_of
from ammup.stats.power_law import PowerLaw, fit_power_law
from ammup.stats.runs import RUN_COLUMNS, checked_runs
from ammup.stats.segment import Segment

# The fields of the fitted line in JSON, each None without a line.
_LINE = ("slope", "slope_se", "slope_ci", "level", "prefactor", "r2")


@dataclass(frozen=True, kw_only=True)
class SweepLaw:
    """How the best learning rate of a sweep falls with depth.

    Attributes:
        optima: by depth.
        kind: "smoothed" or "argmax", what the line was fitted to.
        used: depths that the line was fitted to; the others are flagged.
        power_law: weighted least squares (section 4.1), or None with fewer than two usable depths.
        predictions: for each segment the prediction of its anchors' line at the other depths, or None where an anchor
            is flagged or missing.
    """

    optima: Mapping[int, Optimum]
    kind: str
    used: tuple[int, ...]
    power_law: PowerLaw | None
    predictions: Mapping[Segment, pd.DataFrame | None]

    def lr_star(self, depth: int) -> tuple[float, float]:
        """(η*, standard error of log10 η*) of one depth."""
        return self.optima[depth].lr_star(self.kind)

    @property
    def line(self) -> pd.DataFrame:
        """The fitted line and its band at every depth: depth, fitted, low, high; NaN where there is no line."""
        depth = list(self.optima)
        if self.power_law is None:
            return pd.DataFrame({"depth": depth, "fitted": np.nan, "low": np.nan, "high": np.nan})
        low, high = self.power_law.band(depth)
        return pd.DataFrame({"depth": depth, "fitted": self.power_law.predict(depth), "low": low, "high": high})

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None for JSON; a number that does not exist is None."""
        return {
            "optimum": self.kind,
            **(dict.fromkeys(_LINE) if self.power_law is None else self.power_law.to_dict()),
            "used": list(self.used),
            "line": json_rows(self.line),
            "optima": [{"depth": depth, **asdict(found)} for depth, found in self.optima.items()],
            "segments": [
                {**asdict(segment), "predictions": None if table is None else json_rows(table)}
                for segment, table in self.predictions.items()
            ],
        }


def fit_sweep(
    runs: pd.DataFrame,
    *,
    kind: str = "smoothed",
    keep_flagged: bool = False,
    segments: Sequence[Segment] = (),
    left_out: pd.DataFrame | None = None,
    level: float = 0.95,
) -> SweepLaw:
    """The optimum of every depth, and the power law through those that can be trusted.

    Args:
        runs: columns depth, lr, seed, val_accuracy, diverged: one row for each replica.
        kind: "smoothed" or "argmax".
        keep_flagged: use flagged optima as well.
        segments: for zero-shot transfer (section 4.2).
        left_out: columns depth, lr, seed: cells that a search left out (:func:`ammup.stats.search.adaptive_search`)
            and that are not missing. None: all were to be trained.
        level: confidence level of the line's intervals.

    Raises:
        InputError: no runs, runs that lack a column or hold something that cannot be, or a depth all of whose runs
            diverged.
    """
    check_known("optimum", kind, OPTIMA)
    runs = checked_runs(runs, RUN_COLUMNS)
    others = pd.DataFrame(columns=["depth", "lr", "seed"]) if left_out is None else left_out
    optima = {
        int(str(depth)): optimum_of(group, left_out=others[others["depth"] == depth])
        for depth, group in runs.groupby("depth")
    }
    used = tuple(depth for depth, found in optima.items() if keep_flagged or not found.flags)
    points = {depth: optima[depth].lr_star(kind) for depth in used}
    line = None
    if len(points) > 1:
        values, errors = (list(column) for column in zip(*points.values(), strict=True))
        line = fit_power_law(list(points), values, se=errors, level=level)
    lr_star = {depth: value for depth, (value, _) in points.items()}
    predictions = {
        segment: segment.predictions(lr_star) if set(segment.anchors) <= set(lr_star) else None for segment in segments
    }
    return SweepLaw(optima=optima, kind=kind, used=used, power_law=line, predictions=predictions)
