"""How the best learning rate of a sweep falls with depth, with its uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ammup.errors import InputError, check_known
from ammup.format import brief_repr, json_number, json_rows, range_text
from ammup.stats.edge import edge_errors
from ammup.stats.peak import OPTIMA, Optimum, SeedCurves
from ammup.stats.power_law import PowerLaw, fit_power_law
from ammup.stats.runs import RUN_COLUMNS, checked_runs
from ammup.stats.segment import Segment

# JSON fields of the fitted line; all are None if no line was fitted.
_LINE = ("slope", "slope_se", "slope_ci", "level", "prefactor", "r2")


@dataclass(frozen=True, kw_only=True)
class SweepLaw:
    """How the best learning rate of a sweep falls with depth.

    Attributes:
        optima: by depth.
        kind: "smoothed", "argmax" or "edge", the optimum that the line is fitted to.
        chance: the accuracy of a random guess, which defines the edges.
        used: depths that the line is fitted to; the optima of all other depths are flagged.
        power_law: weighted least squares (section 4.1), or None with fewer than two usable depths. Edges from one seed
            have no standard errors; they are fitted with equal weights.
        predictions: for each segment, the predictions of the line through its anchors; None if an anchor is flagged or
            missing.
    """

    optima: Mapping[int, Optimum]
    kind: str
    chance: float
    used: tuple[int, ...]
    power_law: PowerLaw | None
    predictions: Mapping[Segment, pd.DataFrame | None]

    def __repr__(self) -> str:
        flagged = [depth for depth in self.optima if depth not in self.used]
        return brief_repr(
            self,
            f"depths {range_text(self.optima)}",
            kind=self.kind,
            lr_star=[self.lr_star(depth)[0] for depth in self.optima],
            flagged=flagged,
            power_law=self.power_law,
        )

    def lr_star(self, depth: int) -> tuple[float, float]:
        """(η*, standard error of log10 η*) of one depth."""
        return self.optima[depth].lr_star(self.kind)

    def flags(self, depth: int) -> tuple[str, ...]:
        """The reasons why the optimum of one depth is unreliable; empty if it is reliable."""
        return self.optima[depth].flags_of(self.kind)

    @property
    def curve(self) -> pd.DataFrame:
        """The optima without flags, for a transfer rule: columns depth, lr_star and se_log10 (NaN if unknown)."""
        rows = [(depth, *self.lr_star(depth)) for depth in self.used]
        return pd.DataFrame(rows, columns=["depth", "lr_star", "se_log10"])

    @property
    def line(self) -> pd.DataFrame:
        """The fitted line and its confidence band: columns depth, fitted, low, high; NaN if no line was fitted."""
        depth = list(self.optima)
        if self.power_law is None:
            return pd.DataFrame({"depth": depth, "fitted": np.nan, "low": np.nan, "high": np.nan})
        low, high = self.power_law.band(depth)
        return pd.DataFrame({"depth": depth, "fitted": self.power_law.predict(depth), "low": low, "high": high})

    def to_frame(self) -> pd.DataFrame:
        """One row for each depth.

        Columns: depth; lr_star and se_log10, the optimum of the fitted kind; used, whether the line is fitted to it;
        all attributes of :class:`~ammup.stats.peak.Optimum` except near, with flags as text; and the columns fitted,
        low and high of :attr:`line`.
        """
        rows = []
        for depth, optimum in self.optima.items():
            lr_star, se = self.lr_star(depth)
            values = {name: value for name, value in asdict(optimum).items() if name != "near"}
            values |= {name: ", ".join(values[name]) for name in ("flags", "edge_flags")}
            rows.append({"depth": depth, "lr_star": lr_star, "se_log10": se, "used": depth in self.used, **values})
        return pd.DataFrame(rows).merge(self.line, on="depth")

    def to_dict(self) -> dict[str, Any]:
        """A dict for JSON; NaN and infinite numbers become None."""
        return {
            "optimum": self.kind,
            "chance": self.chance,
            **(dict.fromkeys(_LINE) if self.power_law is None else self.power_law.to_dict()),
            "used": list(self.used),
            "line": json_rows(self.line),
            "optima": [
                {"depth": depth, **asdict(optimum), "edge_se": json_number(optimum.edge_se)}
                for depth, optimum in self.optima.items()
            ],
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
    chance: float | None = None,
) -> SweepLaw:
    """Find the optimum of every depth, and fit a power law to the optima without flags.

    Args:
        runs: columns depth, lr, seed, val_accuracy, diverged: one row for each replica.
        kind: "smoothed" and "argmax" are the best learning rate; "edge" is the learning rate above it at which the
            accuracy falls below half of its rise above chance (docs/edge.md).
        keep_flagged: fit flagged optima as well.
        segments: ranges of depths for zero-shot transfer (section 4.2).
        left_out: columns depth, lr, seed: cells that an adaptive search skipped
            (:func:`ammup.stats.search.adaptive_search`), which do not count as missing. None if no cell was skipped.
        level: confidence level of the line's intervals.
        chance: accuracy of a random guess, which defines the edges. None uses the lowest mean accuracy over seeds in
            the sweep, which is near chance if some learning rates of the grid are too small or too large to train.

    Raises:
        InputError: there are no runs, a column is missing, a value is invalid, or every learning rate of a depth has a
            diverged run.
    """
    check_known("optimum", kind, OPTIMA)
    curves = curves_of(runs, left_out=left_out)
    chance = min(one.lowest for one in curves.values()) if chance is None else _checked_chance(chance)
    law = SweepLaw(optima=_optima(curves, chance), kind=kind, chance=chance, used=(), power_law=None, predictions={})
    return refitted(law, kind=kind, keep_flagged=keep_flagged, segments=segments, level=level)


def refitted(
    law: SweepLaw,
    *,
    kind: str,
    keep_flagged: bool = False,
    segments: Sequence[Segment] = (),
    level: float = 0.95,
) -> SweepLaw:
    """The law of another kind of optimum of the same sweep; the arguments are those of :func:`fit_sweep`."""
    optima = law.optima
    used = tuple(depth for depth, optimum in optima.items() if keep_flagged or not optimum.flags_of(kind))
    points = {depth: optima[depth].lr_star(kind) for depth in used}
    line = None
    if len(points) > 1:
        values, errors = (list(column) for column in zip(*points.values(), strict=True))
        known = errors if np.isfinite(errors).all() else None
        line = fit_power_law(list(points), values, se=known, level=level)
    lr_star = {depth: value for depth, (value, _) in points.items()}
    predictions = {
        segment: segment.predictions(lr_star) if set(segment.anchors) <= set(lr_star) else None for segment in segments
    }
    return replace(law, kind=kind, used=used, power_law=line, predictions=predictions)


def curves_of(runs: pd.DataFrame, *, left_out: pd.DataFrame | None = None) -> dict[int, SeedCurves]:
    """The curves of each depth.

    The arguments and errors are those of :func:`fit_sweep`.
    """
    runs = checked_runs(runs, RUN_COLUMNS)
    others = pd.DataFrame(columns=["depth", "lr", "seed"]) if left_out is None else left_out
    return {
        int(str(depth)): SeedCurves.from_runs(group, left_out=others[others["depth"] == depth])
        for depth, group in runs.groupby("depth")
    }


def _checked_chance(chance: float) -> float:
    if not np.isfinite(chance):
        raise InputError(f"chance={chance}: expected the accuracy of a random guess, such as 0.1 for ten classes")
    return float(chance)


def _optima(curves: Mapping[int, SeedCurves], chance: float) -> dict[int, Optimum]:
    """The optima of each depth. The standard errors of the edges pool the scatter between seeds over all depths."""
    edges = [one.edge(chance) for one in curves.values()]
    errors = edge_errors(edges).tolist()
    parts = zip(curves.items(), edges, errors, strict=True)
    return {depth: one.optimum_with(edge, error) for (depth, one), edge, error in parts}
