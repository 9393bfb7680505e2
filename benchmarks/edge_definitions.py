"""Compare definitions of the learning rate at which training stops to work, on the stored full grids of two seeds.

Each definition maps one seed's curves to a learning rate for each depth. Printed for each, over the families in
baselines/sweeps/grids.npz that have two seeds (five depths each):

* found: share of the curves for which the definition gives a learning rate.
* seeds: standard deviation between seeds of log10 of that learning rate, at the same family and depth.
* slope: standard deviation between seeds of the slope of log η on log L, and its 95 % chi-square interval.
* per hour: the standard error of the slope that one CPU hour buys, slope · √(hours of one seed's grid): the number of
  seeds that an hour pays for divides the variance.
* window: the same if only WINDOW learning rates around the estimate of the other seed are trained at each depth, and
  the definition is evaluated on these alone.
* ratios, fit: accuracy lost on the other seed if the rate tuned at the smallest depth on one seed is carried to the
  other depths with the ratios of that seed's estimates, or with the slope fitted to them. It is relative to the rate
  that is tuned at each depth on the first seed: 0 is as good as that. ± is the standard error over families and seeds.

    python benchmarks/edge_definitions.py
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from edge_parts.candidates import CHANCE, DEFINITIONS, REGISTRATIONS, WINDOW, Array, Curve, smoothed
from scipy import stats
from tracked.search import GRIDS, Grids

from ammup.experiments.record import SweepRecord

Estimates = dict[int, float]  # log10 η by depth, NaN where the definition gives none
NOTHING = float("nan")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The curves of one family and seed, and what it costs to train them.

    Attributes:
        curves: by depth.
        hours: CPU hours of each learning rate, by depth.
    """

    curves: Mapping[int, Curve]
    hours: Mapping[int, Array]

    def estimates(self, name: str) -> Estimates:
        """log10 η of a definition, by depth."""
        if name in REGISTRATIONS:
            return dict(zip(self.curves, REGISTRATIONS[name](list(self.curves.values())).tolist(), strict=True))
        return {depth: DEFINITIONS[name](curve) for depth, curve in self.curves.items()}

    def windowed(self, name: str, centres: Estimates) -> tuple[Estimates, float]:
        """(Estimates, CPU hours) with the learning rates around ``centres`` only."""
        found, hours = {}, 0.0
        for depth, curve in self.curves.items():
            at = curve.window(centres[depth] if np.isfinite(centres[depth]) else float(curve.u.mean()))
            found[depth] = DEFINITIONS[name](curve.part(at))
            hours += float(self.hours[depth][at].sum())
        return found, hours

    @property
    def total(self) -> float:
        """CPU hours of all learning rates and depths."""
        return float(sum(hours.sum() for hours in self.hours.values()))


def read_grids() -> dict[str, dict[int, Grid]]:
    """The stored grids by family and seed."""
    grids = Grids.read()
    families: dict[str, dict[int, Grid]] = {}
    for name in sorted(set(grids.experiment.tolist())):
        record = SweepRecord.read(GRIDS.parent / f"{name}.json")
        at = grids.experiment == name
        steps = grids.steps[at] * grids.depth[at][:, None]  # a step of a net costs about as much as it is deep
        scale = float(record.provenance["core hours"]) / steps.sum()
        families[name] = {seed: _grid(grids, name, seed, scale) for seed in sorted(set(grids.seed[at].tolist()))}
    return families


def _grid(grids: Grids, name: str, seed: int, scale: float) -> Grid:
    curves, hours = {}, {}
    for i in np.flatnonzero((grids.experiment == name) & (grids.seed == seed)):
        depth, diverged = int(grids.depth[i]), grids.accuracy[i] < 0
        curves[depth] = Curve(
            u=np.log10(grids.lrs[i]),
            accuracy=np.where(diverged, CHANCE, grids.accuracy[i]),
            diverged=diverged,
            losses=grids.losses[i].astype(np.float64),
            start=float(grids.losses[i][0, 0]),
        )
        hours[depth] = grids.steps[i] * depth * scale
    return Grid(curves=curves, hours=hours)


def slope_of(estimates: Estimates) -> float:
    """Slope of log η on log L over the depths that have an estimate; NaN with fewer than three."""
    points = [(np.log10(depth), u) for depth, u in estimates.items() if np.isfinite(u)]
    return float(np.polyfit(*np.array(points).T, 1)[0]) if len(points) > 2 else NOTHING


def scatter(pairs: list[tuple[float, float]]) -> tuple[float, int]:
    """(Standard deviation of one value, degrees of freedom) from pairs of values with the same mean."""
    differences = np.diff(np.array(pairs), axis=1)
    finite = differences[np.isfinite(differences)]
    return float(np.sqrt(np.mean(finite**2) / 2)) if finite.size else NOTHING, finite.size


def lost(grid: Grid, other: Grid, estimates: Estimates, *, fitted: bool) -> float:
    """Mean accuracy lost on ``other`` by rates carried from the smallest depth; NaN if there is no estimate."""
    base, *depths = grid.curves
    tuned = {depth: smoothed(curve) for depth, curve in grid.curves.items()}
    slope, losses = slope_of(estimates), []
    for depth in depths:
        step = slope * np.log10(depth / base) if fitted else estimates[depth] - estimates[base]
        curve = other.curves[depth]
        carried, own = (float(np.interp(u, curve.u, curve.accuracy)) for u in (tuned[base] + step, tuned[depth]))
        losses.append(1 - carried / own if np.isfinite(step) else NOTHING)
    return float(np.mean(losses))


def row_of(name: str, families: Mapping[str, Mapping[int, Grid]]) -> dict[str, str]:
    """The row of the table for one definition."""
    pairs = [(grids[0], grids[1]) for grids in families.values() if len(grids) == 2]
    found = [(a.estimates(name), b.estimates(name)) for a, b in pairs]
    points = [(x[depth], y[depth]) for x, y in found for depth in x]
    sd, df = scatter([(slope_of(x), slope_of(y)) for x, y in found])
    low, high = (sd * np.sqrt(df / stats.chi2.ppf(p, df)) for p in (0.975, 0.025)) if df else (NOTHING, NOTHING)
    hours = float(np.mean([grid.total for pair in pairs for grid in pair]))
    carried = {
        fitted: [
            lost(*grids, estimates, fitted=fitted)
            for (a, b), (x, y) in zip(pairs, found, strict=True)
            for grids, estimates in (((a, b), x), ((b, a), y))
        ]
        for fitted in (False, True)
    }
    return {
        "found": f"{np.isfinite(points).mean():.0%}",
        "seeds": "" if name in REGISTRATIONS else f"{scatter(points)[0]:.3f}",
        "slope": f"{sd:.2f} [{low:.2f}, {high:.2f}]",
        "per hour": f"{sd * np.sqrt(hours):.2f}",
        "window": _windowed_text(name, pairs, found),
        **{label: _mean_text(carried[fitted]) for label, fitted in (("ratios", False), ("fit", True))},
    }


def _windowed_text(name: str, pairs: list[tuple[Grid, Grid]], found: list[tuple[Estimates, Estimates]]) -> str:
    if name in REGISTRATIONS:
        return ""
    parts = [(a.windowed(name, y), b.windowed(name, x)) for (a, b), (x, y) in zip(pairs, found, strict=True)]
    sd, _ = scatter([(slope_of(x), slope_of(y)) for (x, _), (y, _) in parts])
    hours = float(np.mean([hours for pair in parts for _, hours in pair]))
    return f"{sd * np.sqrt(hours):.2f}"


def _mean_text(values: list[float]) -> str:
    finite = np.array(values)[np.isfinite(values)]
    missing = f" ({finite.size} of {len(values)})" if finite.size < len(values) else ""
    return f"{finite.mean():.1%} ± {finite.std(ddof=1) / np.sqrt(finite.size):.1%}{missing}" if finite.size else "–"


def main() -> None:
    families = read_grids()
    hours = np.mean([grid.total for grids in families.values() for grid in grids.values()])
    print(f"full grid of one seed: {hours:.2f} CPU hours on average; window: {WINDOW} of 40 learning rates\n")
    names = (*DEFINITIONS, *REGISTRATIONS)
    print(pd.DataFrame({name: row_of(name, families) for name in names}).T.to_string())
    slopes = {
        name: {f"{family} {seed}": slope_of(grid.estimates(name)) for family, grids in families.items() for seed, grid in grids.items()}
        for name in names
    }
    print(f"\nslopes by family and seed\n{pd.DataFrame(slopes).round(2).to_string()}")


if __name__ == "__main__":
    main()
