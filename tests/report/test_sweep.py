"""Tables of a sweep for a terminal, compared with the fit, the cost or the regret that they show."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from figures import DEPTHS, flagged_sweep, sweep
from rich.console import Console, RenderableType

from ammup.experiments.cost import Cost
from ammup.report.sweep import cost_text, percent_text, regret_text, status_text, sweep_law_text
from ammup.stats.optimum import SweepLaw, fit_sweep
from ammup.stats.peak import DIVERGENCE, NO_MAXIMUM
from ammup.stats.regret import transfer_regret


def _lines(renderable: RenderableType) -> list[str]:
    """The printed lines, in which each run of spaces and table borders is one space."""
    out = io.StringIO()
    Console(file=out, width=400).print(renderable, soft_wrap=True)
    table = str.maketrans(dict.fromkeys("│┃┏┓┗┛━┡┩├┤─┼└┘┴┬╇┳", " "))
    return [" ".join(line.translate(table).split()) for line in out.getvalue().splitlines()]


def _row(lines: list[str], first: str) -> str:
    (row,) = [line for line in lines if line.startswith(f"{first} ")]
    return row


def test_status_counts_finished_cells_and_those_omitted_by_a_search() -> None:
    status = pd.DataFrame(
        {"depth": [2, 4], "total": [26, 26], "done": [20, 0], "left_out": [6, 0], "diverged": [3, 0],
         "best_lr": [0.125, np.nan], "val_accuracy": [0.4567, np.nan]}
    )  # fmt: skip
    lines = _lines(status_text("small", status))
    assert _row(lines, "2") == "2 26/26 6 3 0.125 45.7%"
    assert _row(lines, "4") == "4 0/26 0 0"
    assert lines[-1].startswith("26 of 52 ")


@pytest.mark.parametrize(("workers", "searched"), [(1, False), (2, True)])
def test_the_cost_is_summed_over_depths_and_divided_among_workers(workers: int, searched: bool) -> None:
    table = pd.DataFrame({"depth": [2, 4], "cells": [10, 20], "flops": [1e12, 4e12], "seconds": [36.0, 72.0]})
    lines = _lines(cost_text("small", Cost(table=table, workers=workers, strategy="loop", searched=searched)))
    assert _row(lines, "2") == "2 10 1e+12 36"
    assert _row(lines, "4") == "4 20 4e+12 72"
    assert "30 cells, 5e+12 " in lines[-1]
    assert f"about {(10 * 36 + 20 * 72) / 60 / workers:.0f} minutes for the cells on this machine" in lines[-1]
    assert ("1 worker," if workers == 1 else "2 workers,") in lines[-1]
    assert "loop" in lines[-1]
    assert ("search" in lines[-1]) == searched


def test_the_cost_includes_short_runs_and_reports_a_busy_machine() -> None:
    table = pd.DataFrame({"depth": [2], "cells": [10], "flops": [1e12], "seconds": [1080.0]})
    cost = Cost(table=table, workers=2, strategy="loop", searched=False, short_run_seconds=7200.0, core_share=0.25)
    *_, line, note = _lines(cost_text("small", cost))
    assert "about 2.5 hours for the cells and the short runs on this machine" in line
    assert "25% of a core was available" in note
    assert note.endswith("without them, about 38 minutes")


def test_each_optimum_has_its_errors_fit_and_flags(law: SweepLaw) -> None:
    lines = _lines(sweep_law_text(law, heading="small", missing=0, paper_slope=-1.337))
    assert lines[0] == "small"
    fitted = law.line.set_index("depth")
    for depth, optimum in law.optima.items():
        line = fitted.loc[depth]
        expected = [
            f"{optimum.argmax:.3g}",
            f"{optimum.argmax * (10**optimum.argmax_se - 1):.2g}",
            f"{optimum.smoothed:.3g}",
            f"{optimum.smoothed * (10**optimum.smoothed_se - 1):.2g}",
            f"{optimum.edge:.3g}",
            f"{optimum.edge * (10**optimum.edge_se - 1):.2g}",
            f"{100 * optimum.accuracy:.1f}%",
        ]
        shown = _row(lines, str(depth)).split()
        assert shown[1:8:2] == expected[::2]
        # An error in η is the derivative's; the distance to the end of the interval of log10 η is close to it.
        np.testing.assert_allclose([float(shown[i]) for i in (2, 4)], [float(expected[i]) for i in (1, 3)], rtol=0.1)
        np.testing.assert_allclose(float(shown[6]), optimum.edge * np.log(10) * optimum.edge_se, rtol=0.1)
        flags = f"edge: {', edge: '.join(optimum.edge_flags)}" if optimum.edge_flags else ""
        fit = f"{line['fitted']:.3g} [{line['low']:.2g}, {line['high']:.2g}]"
        assert " ".join(shown[8:]) == f"{fit} {flags}".strip()
    assert law.power_law is not None
    low, high = law.power_law.slope_ci
    (slope,) = [one for one in lines if "R²" in one]
    for text in (f"{law.power_law.slope:.2f} ", f"[{low:.2f}, {high:.2f}]", f"R² {law.power_law.r2:.3f}", law.kind):
        assert text in slope
    assert "missing" not in " ".join(lines)
    assert "paper, this experiment -1.34" in lines
    assert "this experiment" not in " ".join(_lines(sweep_law_text(law, heading="small", missing=0)))


def test_segments_show_predictions_and_their_errors(law: SweepLaw) -> None:
    lines = [line for line in _lines(sweep_law_text(law, heading="", missing=0)) if line.startswith("segment")]
    expected = []
    for segment, table in law.predictions.items():
        anchors = ", ".join(map(str, segment.anchors))
        if table is None:
            expected.append((anchors, ""))
            continue
        for depth in segment.predict:
            (row,) = table[table["depth"] == depth].to_dict("records")
            factor = row["predicted"] / row["measured"]
            expected.append((f"{anchors} → {depth}: predicted {row['predicted']:.3g}", f"{factor:.2f}"))
    assert len(lines) == len(expected) == 4
    for line, (begin, factor) in zip(lines, expected, strict=True):
        assert line.startswith(f"segment on L = {begin}")
        assert line.endswith(factor)
    unmeasured = replace(
        law,
        predictions={s: None if t is None else t.assign(measured=np.nan) for s, t in law.predictions.items()},
    )
    text = " ".join(_lines(sweep_law_text(unmeasured, heading="", missing=0)))
    assert text.count("not measured") == 3
    assert "factor" not in text


def test_flagged_depths_two_depths_and_missing_cells_are_reported() -> None:
    flagged = _lines(sweep_law_text(fit_sweep(flagged_sweep()), heading="", missing=7))
    assert _row(flagged, "2").endswith(f" {DIVERGENCE}, {NO_MAXIMUM}")
    assert any("L = 2 " in line and "--keep-flagged" in line for line in flagged)
    assert any(" 7 cells " in line for line in flagged)
    two = fit_sweep(sweep((2, 4)))
    assert two.power_law is not None
    (slope,) = [line for line in _lines(sweep_law_text(two, heading="", missing=0)) if "R²" in line]
    assert f"{two.power_law.slope:.2f} " in slope
    assert "[" not in slope
    one = _lines(sweep_law_text(fit_sweep(sweep((4,))), heading="", missing=0))
    assert not any("R²" in line for line in one)


def test_regret_has_a_row_for_each_rule_and_a_column_for_each_depth() -> None:
    rules = {"constant": dict.fromkeys(DEPTHS, 1.0), "am-mup": {depth: depth**-1.5 for depth in DEPTHS}}
    runs = sweep().assign(val_loss=lambda t: 1 - t["val_accuracy"])
    regret = transfer_regret(runs, rules, base=2)
    lines = _lines(regret_text(regret))
    assert any(line.count("L = ") == 3 for line in lines)
    for rule in rules:
        (mean,) = regret.mean[regret.mean["rule"] == rule].to_dict("records")
        parts = [f"{mean['abs_log10_error']:.2f}", percent_text(mean), percent_text(mean, "held_out")]
        parts.append(f"{mean['loss_added']:.3f}")
        for depth in DEPTHS[1:]:
            here = regret.by_depth[(regret.by_depth["rule"] == rule) & (regret.by_depth["depth"] == depth)]
            parts.append(percent_text(here.iloc[0].to_dict()))
        assert _row(lines, rule) == " ".join([rule, *parts])


def test_a_percentage_has_its_interval_unless_that_is_unknown() -> None:
    row = {"accuracy_lost": 0.1234, "accuracy_low": -0.01, "accuracy_high": 0.256}
    assert percent_text(row) == "12.3% [-1.0, 25.6]"
    assert percent_text({**row, "accuracy_low": np.nan, "accuracy_high": np.nan}) == "12.3%"
    held_out = {**row, "held_out": -0.05, "held_out_low": -0.1, "held_out_high": 0.0}
    assert percent_text(held_out, "held_out") == "-5.0% [-10.0, 0.0]"
    assert percent_text({**held_out, "held_out": np.nan}, "held_out") == "–"  # one seed
