"""`ammup fit` as a user types it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import assert_refused, run

from ammup.experiments.experiment import Experiment
from ammup.experiments.merge import merge
from ammup.experiments.store import Store


def test_fit_prints_optima_slope_and_segments(sweep_folder: Path) -> None:
    result = run("fit", sweep_folder / "runs.db", "--keep-flagged")
    assert result.exit_code == 0, result.output
    for text in ("argmax", "smoothed", "± s.e.", "flags", "slope of log lr on log L", "segment on L = 2, 3 → 4"):
        assert text in result.stdout
    answer = json.loads(run("fit", sweep_folder / "runs.db", "--keep-flagged", "--json").stdout)
    assert [optimum["depth"] for optimum in answer["optima"]] == [2, 3]
    low, high = answer["optima"]
    expected = np.log(high["smoothed"] / low["smoothed"]) / np.log(3 / 2)
    assert answer["slope"] == pytest.approx(expected)
    assert answer["slope_se"] is None  # two depths leave no residual
    assert answer["missing"] == 0


def test_the_argmax_optimum_is_the_best_grid_point(sweep_folder: Path, toml: str) -> None:
    with Store(sweep_folder / "runs.db", mode="read") as store:
        runs = store.table(Experiment.from_toml(toml).key)
    answer = json.loads(run("fit", sweep_folder / "runs.db", "--optimum", "argmax", "--json").stdout)
    for optimum in answer["optima"]:
        here = runs[(runs["depth"] == optimum["depth"])].dropna(subset="val_accuracy")
        lost = runs[(runs["depth"] == optimum["depth"]) & runs["diverged"]]["lr"]
        best = [g.loc[g["val_accuracy"].idxmax(), "lr"] for _, g in here[~here["lr"].isin(lost)].groupby("seed")]
        assert optimum["argmax"] == pytest.approx(np.exp(np.log(best).mean()))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_export_writes_every_run(sweep_folder: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"runs{suffix}"
    result = run("fit", sweep_folder / "runs.db", "--export", path)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert len(table) == 52
    assert {"depth", "lr", "seed", "val_accuracy", "commit", "versions", "device", "strategy"} <= set(table.columns)
    again = run("fit", sweep_folder / "runs.db", "--export", path)
    assert_refused(again, f"{path} already exists")


def test_fit_draws_the_curves_and_the_law(sweep_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "law.png"
    assert run("fit", sweep_folder / "runs.db", "--plot", path).exit_code == 0
    assert path.stat().st_size > 10_000


def test_an_unfinished_sweep_reports_its_missing_cells(sweep_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "half.db"
    with Store(sweep_folder / "runs.db", mode="read") as complete, Store(store, mode="write") as half:
        merge(half, complete)
        half.connection.execute("DELETE FROM runs WHERE seed = 1 AND lr > 1")
    shown = run("fit", store)
    assert "cells are missing" in shown.stdout
    assert "8 cells" in shown.stdout
    answer = json.loads(run("fit", store, "--json").stdout)
    assert (answer["missing"], answer["slope"]) == (8, None)


def test_a_store_with_several_experiments_needs_a_name(sweep_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "two.db"
    run("sweep", "--store", store, "--merge", sweep_folder / "runs.db")
    changes = ["--set", "name=other", "--set", "training.batch_size=64", "--set", "grid={depths=[2], lrs=[0.1, 1.0]}"]
    assert run("sweep", sweep_folder / "small.toml", "--store", store, "--workers", 1, *changes).exit_code == 0
    result = run("fit", store)
    assert_refused(result, "other (")
    assert run("fit", store, "--experiment", "small").exit_code == 0
    unknown = run("fit", store, "--experiment", "smal")
    assert_refused(unknown, "experiment 'smal'")
    assert "small" in unknown.stderr


def test_transfer_shows_the_accuracy_that_each_rule_loses(sweep_folder: Path) -> None:
    shown = run("fit", sweep_folder / "runs.db", "--transfer").stdout
    assert all(rule in shown for rule in ("constant", "L^-1/2", "L^-1", "am-mup", "swept"))
    rows = json.loads(run("fit", sweep_folder / "runs.db", "--transfer", "--base", 3, "--json").stdout)["transfer"]
    assert {row["depth"] for row in rows} == {2}
    assert all(row["accuracy_low"] <= row["accuracy_lost"] <= row["accuracy_high"] for row in rows)
    wrong = run("fit", sweep_folder / "runs.db", "--transfer", "--base", 7)
    assert_refused(wrong, "base=7")


def test_a_record_gives_the_same_fit_as_its_store(sweep_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    assert run("fit", sweep_folder / "runs.db", "--export", path).exit_code == 0
    sources = (path, sweep_folder / "runs.db")
    ours, theirs = (json.loads(run("fit", source, "--keep-flagged", "--json").stdout) for source in sources)
    assert ours["slope"] == pytest.approx(theirs["slope"], rel=1e-4)
    assert ours["segments"][0]["anchors"] == theirs["segments"][0]["anchors"]


@pytest.mark.parametrize("figure", ["panel", "accuracies", "heatmap", "overlay"])
def test_each_figure_is_drawn(sweep_folder: Path, tmp_path: Path, figure: str) -> None:
    path = tmp_path / "figure.svg"
    arguments = ["--against", "small"] if figure == "overlay" else []
    result = run("fit", sweep_folder / "runs.db", "--figure", figure, "--plot", path, "--keep-flagged", *arguments)
    assert result.exit_code == 0, result.output
    assert path.read_text().lstrip().startswith("<?xml")


def test_against_requires_an_overlay(sweep_folder: Path, tmp_path: Path) -> None:
    panel = ["--figure", "panel", "--plot", tmp_path / "x.png"]
    result = run("fit", sweep_folder / "runs.db", *panel, "--against", "small")
    assert_refused(result, "--figure overlay")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.db"], "x.db"),
        (["small.toml"], "small.toml"),
        (["runs.db", "--plot", "law.doc"], "'law.doc'"),
        (["runs.db", "--export", "law.xls"], ".csv, .parquet, .json"),
        (["runs.db", "--experiment", "x"], "experiment 'x'"),
        (["runs.db", "--figure", "panel"], "--plot FILE"),
        (["runs.db", "--base", "0", "--transfer"], "0 is not in the range"),
    ],
)
def test_invalid_input_is_a_one_line_error(
    arguments: list[str], message: str, sweep_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sweep_folder)
    before = sorted(sweep_folder.iterdir())
    assert_refused(run("fit", *arguments), message)
    assert sorted(sweep_folder.iterdir()) == before
