"""The tables of the documentation that compare sweeps."""

import numpy as np
import pandas as pd
import pytest

from ammup.experiments.analysis import regret_of
from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.report.comparison import errors_markdown, measured_law, regret_markdown, slopes_markdown
from ammup.stats.optimum import fit_sweep
from ammup.stats.power_law import fit_maximal_lr

TOML = """
name = "made-up"
paper_slope = -1.435
model = {factory = "cnn"}
data = {source = "synthetic"}
grid = {depths = [2, 4, 8], lrs = {low = 1e-3, high = 10.0, points = 33}, seeds = 2}
"""


def _record(*, slope: float, measured: bool = True, flat: int | None = None) -> SweepRecord:
    """Parabolas whose maxima fall with depth at the given slope; at the depth ``flat``, accuracy rises to the edge."""
    experiment = Experiment.from_toml(TOML)
    rng = np.random.default_rng(1)
    rows = []
    for cell in experiment.cells():
        x = np.log10(cell.lr) - np.log10(0.5 * cell.depth**slope)
        accuracy = np.log10(cell.lr) / 100 + 0.1 if cell.depth == flat else 0.5 - 0.05 * x**2
        rows.append((cell.depth, cell.lr, cell.seed, accuracy + 1e-4 * rng.standard_normal(), 1 + x**2, False))
    measurements = [(d, 0.1, s, step, (1 + s) * d**3.0) for d in (2, 4, 8) for s in (0, 1) for step in (0, 10)]
    return SweepRecord(
        experiment=experiment,
        runs=pd.DataFrame(rows, columns=["depth", "lr", "seed", "val_accuracy", "val_loss", "diverged"]),
        measurements=pd.DataFrame(measurements if measured else [], columns=["depth", "lr", "seed", "step", "S_bar"]),
        laws={"finite-depth": {2: 1.0, 4: 0.5, 8: 0.25}} if measured else {},
        data_digest=None,
        provenance={},
    )


def _cells(markdown: str) -> list[dict[str, str]]:
    head, _, *rows = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in markdown.splitlines()]
    assert all(len(row) == len(head) for row in rows)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_each_slope_agrees_with_its_estimator() -> None:
    record = _record(slope=-1.0)
    (row,) = _cells(slopes_markdown([record]))
    assert (row["sweep"], row["L"], row["seeds"], row["paper"]) == ("`made-up`", "2, 4, 8", "2", "-1.435")
    for kind in ("smoothed", "argmax"):
        law = fit_sweep(record.runs, kind=kind).power_law
        assert law is not None
        assert row[f"trained, {kind}"] == f"{law.slope:.2f} [{law.slope_ci[0]:.2f}, {law.slope_ci[1]:.2f}]"
    assert row["finite-depth law"].startswith("-1.00")
    assert row["measured-late"].startswith("-1.50")
    low, high = fit_maximal_lr({d: [d**3.0, 2 * d**3.0] for d in (2, 4, 8)}).slope_ci
    assert row["measured, no training"] == f"-1.50 [{low:.2f}, {high:.2f}]"


def test_missing_values_are_shown_as_a_dash() -> None:
    (row,) = _cells(slopes_markdown([_record(slope=-1.0, measured=False)]))
    assert [row[name] for name in ("finite-depth law", "measured, no training", "measured-late")] == ["–"] * 3
    bare = _record(slope=-1.0, measured=False)
    rows = _cells(regret_markdown({"measured": regret_of(_record(slope=-1.0)), "bare": regret_of(bare)}))
    assert rows[1]["measured"] == "–"
    assert measured_law(_record(slope=-1.0, measured=False).measurements) is None


def test_the_table_names_flagged_depths() -> None:
    (row,) = _cells(slopes_markdown([_record(slope=-1.0, flat=8)]))
    assert row["trained, smoothed"].endswith("(without L = 8)")


@pytest.mark.parametrize(("slope", "best"), [(-1.0, "L^-1"), (-1.5, "am-mup"), (0.0, "constant")])
def test_the_correct_rule_has_the_smallest_error(slope: float, best: str) -> None:
    regrets = {"made-up": regret_of(_record(slope=slope))}
    (lost,), (errors,) = _cells(regret_markdown(regrets)), _cells(errors_markdown(regrets))
    share = {rule: float(text.split("%")[0]) for rule, text in lost.items() if "%" in text}
    off = {rule: float(text) for rule, text in errors.items() if rule != "sweep"}
    assert best in sorted(share, key=share.__getitem__)[:4]
    assert min(off.values()) == off[best] < 0.02
    assert "[" in lost[best]  # two seeds give an interval
    assert "swept" in lost
    assert "swept" not in errors
