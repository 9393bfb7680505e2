"""Compare definitions of the learning rate at which training stops to work, on the stored full grids of two seeds.

Each definition maps one seed's curves to a learning rate for each depth. Printed for each, over the families in
baselines/sweeps/grids.npz that have two seeds (five depths each):

* found: share of the curves for which the definition gives a learning rate.
* seeds: standard deviation between seeds of log10 of that learning rate at one depth. A difference between seeds that
  all depths of a family share is subtracted, because it does not change the slope.
* slope: the standard error of the slope of log η on log L that one seed gives, which follows from it, and its 95 %
  chi-square interval.
* per hour: the standard error of the slope that one CPU hour buys, slope · √(hours of one seed's grid): the number of
  seeds that an hour pays for divides the variance.
* seen: the standard deviation of the slopes of two seeds themselves, with 5 instead of 20 degrees of freedom.
* window: as "per hour" if only the WINDOW learning rates around the estimate of the other seed are trained at each
  depth, and the definition is evaluated on these alone.
* ratios, fit: accuracy lost on the other seed if the rate tuned at the smallest depth on one seed is carried to the
  other depths with the ratios of that seed's estimates, or with the slope fitted to them, relative to the best accuracy
  of the other seed at each depth. ± is the standard error over families and seeds. "tuned" is the loss of the rate
  that is tuned at each depth on the first seed.
* paired: "fit" minus that of the first definition, with the standard error over families.

    python benchmarks/edge_definitions.py
"""

from collections.abc import Mapping, Sequence
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
        steps = grids.steps[at] * grids.depth[at][:, None]  # the cost of a step is about proportional to the depth
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


def slope_scatter(pairs: list[tuple[Estimates, Estimates]]) -> tuple[float, float, int]:
    """(Scatter of one estimate between seeds, the resulting standard error of the slope of one seed, df).

    The difference of two seeds has twice the variance of one, and one degree of freedom of each family goes into the
    difference that all its depths share.
    """
    squares, df, precision = 0.0, 0, []
    for one, other in pairs:
        depths = [depth for depth in one if np.isfinite(one[depth] - other[depth])]
        if len(depths) > 1:
            differences = np.array([one[depth] - other[depth] for depth in depths])
            squares += float(differences.var() * differences.size) / 2
            df += differences.size - 1
            precision.append(float(np.var(np.log10(depths)) * len(depths)))
    sd = np.sqrt(squares / df) if df else NOTHING
    return float(sd), float(sd / np.sqrt(np.mean(precision))) if precision else NOTHING, df


def tuned_by(grid: Grid) -> Estimates:
    """log10 of the smoothed optimum of each depth."""
    return {depth: smoothed(curve) for depth, curve in grid.curves.items()}


def lost(grid: Grid, other: Grid, estimates: Estimates, *, fitted: bool) -> float:
    """Mean accuracy lost on ``other`` by rates carried from the smallest depth; NaN if there is no estimate."""
    base, *depths = grid.curves
    tuned, slope = tuned_by(grid)[base], slope_of(estimates)
    steps = {d: slope * np.log10(d / base) if fitted else estimates[d] - estimates[base] for d in depths}
    return float(np.mean([loss_at(other.curves[depth], tuned + step) for depth, step in steps.items()]))


def loss_at(curve: Curve, u: float) -> float:
    """Relative loss of accuracy at log10 η = u, against the best of the curve; NaN at NaN."""
    return 1 - float(np.interp(u, curve.u, curve.accuracy)) / float(curve.accuracy.max()) if np.isfinite(u) else NOTHING


def lost_by_family(name: str, families: Mapping[str, Mapping[int, Grid]]) -> Array:
    """Accuracy lost by the slope fitted to a definition's estimates, mean over both directions of each family."""
    pairs = [(grids[0], grids[1]) for grids in families.values() if len(grids) == 2]
    ways = [((a, b), (b, a)) for a, b in pairs]
    return np.array([np.mean([lost(x, y, x.estimates(name), fitted=True) for x, y in pair]) for pair in ways])


def row_of(name: str, families: Mapping[str, Mapping[int, Grid]]) -> dict[str, str]:
    """The row of the table for one definition."""
    pairs = [(grids[0], grids[1]) for grids in families.values() if len(grids) == 2]
    found = [(a.estimates(name), b.estimates(name)) for a, b in pairs]
    sd, slope, df = slope_scatter(found)
    low, high = (slope * np.sqrt(df / stats.chi2.ppf(p, df)) for p in (0.975, 0.025))
    seen = np.array([slope_of(x) - slope_of(y) for x, y in found])
    hours = float(np.mean([grid.total for pair in pairs for grid in pair]))
    each_way = [way for (a, b), (x, y) in zip(pairs, found, strict=True) for way in ((a, b, x), (b, a, y))]
    return {
        "found": f"{np.isfinite([list(x.values()) for pair in found for x in pair]).mean():.0%}",
        "seeds": f"{sd:.3f}",
        "slope": f"{slope:.2f} [{low:.2f}, {high:.2f}]",
        "per hour": f"{slope * np.sqrt(hours):.2f}",
        "seen": f"{np.sqrt(np.nanmean(seen**2) / 2):.2f}",
        "window": _windowed_text(name, pairs, found),
        "ratios": _mean_text([lost(a, b, x, fitted=False) for a, b, x in each_way]),
        "fit": _mean_text([lost(a, b, x, fitted=True) for a, b, x in each_way]),
        "paired": _mean_text(
            (lost_by_family(name, families) - lost_by_family(next(iter(DEFINITIONS)), families)).tolist()
        ),
    }


def _windowed_text(name: str, pairs: list[tuple[Grid, Grid]], found: list[tuple[Estimates, Estimates]]) -> str:
    if name in REGISTRATIONS:
        return "–"
    parts = [(a.windowed(name, y), b.windowed(name, x)) for (a, b), (x, y) in zip(pairs, found, strict=True)]
    _, slope, _ = slope_scatter([(x, y) for (x, _), (y, _) in parts])
    hours = float(np.mean([hours for pair in parts for _, hours in pair]))
    return f"{slope * np.sqrt(hours):.2f}"


def tuned_loss(families: Mapping[str, Mapping[int, Grid]]) -> str:
    """Accuracy lost on one seed by the rates tuned at each depth on the other seed, as text."""
    losses = []
    for grids in families.values():
        for grid, other in ((grids[0], grids[1]), (grids[1], grids[0])) if len(grids) == 2 else ():
            _, *depths = grid.curves
            tuned = tuned_by(grid)
            losses.append(float(np.mean([loss_at(other.curves[depth], tuned[depth]) for depth in depths])))
    return _mean_text(losses)


def _mean_text(values: list[float]) -> str:
    finite = np.array(values)[np.isfinite(values)]
    missing = f" ({finite.size} of {len(values)})" if finite.size < len(values) else ""
    return f"{finite.mean():.1%} ± {finite.std(ddof=1) / np.sqrt(finite.size):.1%}{missing}" if finite.size else "–"


def slopes_of(names: Sequence[str], families: Mapping[str, Mapping[int, Grid]]) -> pd.DataFrame:
    """The slope of each family and seed, one row for each definition."""
    grids = {
        f"{family.removesuffix('-cifar10-small')} {seed}": grid
        for family in families
        for seed, grid in families[family].items()
    }
    return pd.DataFrame({key: {name: slope_of(grid.estimates(name)) for name in names} for key, grid in grids.items()})


def main() -> None:
    families = read_grids()
    hours = np.mean([grid.total for grids in families.values() for grid in grids.values()])
    print(f"full grid of one seed: {hours:.2f} CPU hours on average; window: {WINDOW} of 40 learning rates")
    print(f"tuned: {tuned_loss(families)}\n")
    names = (*DEFINITIONS, *REGISTRATIONS)
    print(pd.DataFrame({name: row_of(name, families) for name in names}).T.to_string())
    print(f"\nslopes by family and seed\n{slopes_of(names, families).to_string(float_format='{:.2f}'.format)}")


if __name__ == "__main__":
    main()
