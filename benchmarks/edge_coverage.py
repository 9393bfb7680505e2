"""How often the intervals of the edge and of its slope contain the true values, in simulated sweeps with a known edge.

The sweeps have five depths, a slope of -1.5, and curves with the shapes, the noise and the divergence of the 55 stored
ones (benchmarks/edge_parts/simulation.py). Printed for each standard deviation of a seed's edge in decades ("0.06 to
0.22" grows with depth), number of seeds and spacing of the grid in decades:

* bias, sd: of the edge of a depth, in decades; s.e.: root mean square of the reported standard errors.
* edge: coverage of edge ± 1.96 standard errors, without flagged depths. Its own standard error is below 1 % with the
  default of 200 sweeps.
* slope sd, bias, slope: the same for the slope and its 95 % interval; the coverage has a standard error of 1.5 %.
* flagged: share of the depths.
* gradual: share of the depths with the flag "gradual fall", which is wrong for these cliffs.

The second table is the control: the share of depths with that flag if the falls of the stored shapes are replaced by
wider ones. Without noise the accuracy takes this number of decades from 90 to 10 % of its rise above chance.

    python benchmarks/edge_coverage.py
"""

import argparse
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from edge_parts.candidates import CHANCE
from edge_parts.simulation import FINE, Shape, simulated_sweep, stored_shapes
from edge_parts.simulation import product as curve
from numpy.typing import NDArray
from scipy import optimize

from ammup.stats.edge import GRADUAL
from ammup.stats.optimum import fit_sweep

DEPTHS, SLOPE = (3, 4, 6, 8, 12), -1.5
SCATTER = {
    "0.03": dict.fromkeys(DEPTHS, 0.03),
    "0.16": dict.fromkeys(DEPTHS, 0.16),
    "0.06 to 0.22": dict(zip(DEPTHS, (0.06, 0.10, 0.14, 0.18, 0.22), strict=True)),
}
SEEDS, STEPS = (2, 4, 8), (1, 3)
WIDTHS = (0.5, 1.0, 1.5, 2.0)


def row_of(scatter: dict[int, float], seeds: int, step: int, *, sweeps: int, shapes: list[Shape]) -> dict[str, str]:
    """The row of the table for one setting."""
    rng = np.random.default_rng(1)
    errors: list[float] = []
    reported: list[float] = []
    slopes: list[tuple[float, ...]] = []
    flagged: list[bool] = []
    gradual: list[bool] = []
    for _ in range(sweeps):
        first = rng.uniform(-0.3, 0.3)
        edges = {depth: first + SLOPE * np.log10(depth / DEPTHS[0]) for depth in DEPTHS}
        runs = simulated_sweep(rng, shapes, edges=edges, scatter=scatter, seeds=seeds, step=step)
        law = fit_sweep(runs, kind="edge", chance=CHANCE)
        for depth in DEPTHS:
            lr, se = law.lr_star(depth)
            flagged.append(depth not in law.used)
            gradual.append(GRADUAL in law.flags(depth))
            if depth in law.used:
                errors.append(np.log10(lr) - edges[depth])
                reported.append(se)
        if law.power_law is not None:
            slopes.append((law.power_law.slope, *law.power_law.slope_ci))
    error, se, slope = np.array(errors), np.array(reported), np.array(slopes)
    return {
        "bias": f"{error.mean():+.3f}",
        "sd": f"{error.std():.3f}",
        "s.e.": f"{np.sqrt(np.mean(se**2)):.3f}",
        "edge": f"{np.mean(np.abs(error) < 1.96 * se):.1%}",
        "slope sd": f"{slope[:, 0].std():.3f}",
        "slope bias": f"{slope[:, 0].mean() - SLOPE:+.3f}",
        "slope": f"{np.mean((slope[:, 1] < SLOPE) & (slope[:, 2] > SLOPE)):.1%}",
        "flagged": f"{np.mean(flagged):.1%}",
        "gradual": f"{np.mean(gradual):.1%}",
    }


def with_width(shape: Shape, decades: float) -> Shape:
    """The shape with a logistic fall such that the curve without noise falls from 90 to 10 % over these decades."""

    def values(width: float) -> NDArray[np.float64]:
        return curve(FINE, shape.rise, 0.0, shape.widths[0], width)

    def excess(width: float) -> float:
        y = values(width)
        last = [FINE[np.flatnonzero(y >= share * y.max())[-1]] for share in (0.9, 0.1)]
        return float(last[1] - last[0] - decades)

    width = optimize.brentq(excess, 0.01, 2.0, xtol=1e-3)
    edge = FINE[np.flatnonzero(values(width) >= values(width).max() / 2)[-1]]
    return replace(shape, widths=(shape.widths[0], width), offset=float(-edge))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=200, help="simulated sweeps for each row")
    arguments = parser.parse_args()
    shapes, rows = stored_shapes(), {}
    for name, seeds, step in product(SCATTER, SEEDS, STEPS):
        key = (name, seeds, f"{step * 5 / 39:.2f}")
        rows[key] = row_of(SCATTER[name], seeds, step, sweeps=arguments.sweeps, shapes=shapes)
    table = pd.DataFrame(rows).T
    table.index.names = ["scatter", "seeds", "spacing"]
    print(table.reset_index().to_string(index=False))
    control = {}
    for decades, seeds, step in product(WIDTHS, SEEDS, STEPS):
        wide = [with_width(shape, decades) for shape in shapes]
        found = row_of(SCATTER["0.16"], seeds, step, sweeps=max(1, arguments.sweeps // 4), shapes=wide)
        control[decades, seeds, f"{step * 5 / 39:.2f}"] = {"gradual": found["gradual"]}
    table = pd.DataFrame(control).T
    table.index.names = ["decades", "seeds", "spacing"]
    print(f"\n{table.reset_index().to_string(index=False)}")


if __name__ == "__main__":
    main()
