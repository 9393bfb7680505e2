"""`ammup sweep` and `ammup fit` as a user types them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from ammup.cli import cli
from ammup.experiments.experiment import Experiment
from ammup.experiments.merge import merge
from ammup.experiments.store import Store

TOML = """
name = "small"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 8}}
data = {source = "synthetic", image_size = 8, train = 1024, validation = 256}
grid = {depths = [2, 3], lrs = {low = 0.01, high = 10.0, points = 13}, seeds = 2}
training = {batch_size = 32}
segments = [{anchors = [2, 3], predict = [4]}]
"""


def _run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment file and its finished sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "small.toml").write_text(TOML)
    result = _run("sweep", folder / "small.toml", "--store", folder / "runs.db", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "52 of 52 cells are done" in result.stdout
    assert f"next: ammup fit {folder / 'runs.db'}" in result.stdout
    return folder


def test_status_shows_each_depth(folder: Path) -> None:
    for arguments in (["--store", folder / "runs.db"], [folder / "small.toml", "--store", folder / "runs.db"]):
        result = _run("sweep", *arguments, "--status")
        assert result.exit_code == 0, result.output
        for text in ("small", "26/26", "best lr so far", "val. accuracy"):
            assert text in result.stdout
    answer = json.loads(_run("sweep", "--store", folder / "runs.db", "--status", "--json").stdout)
    assert [row["depth"] for row in answer["small"]] == [2, 3]
    assert [row["done"] for row in answer["small"]] == [26, 26]


def test_a_changed_setting_is_another_grid(folder: Path) -> None:
    arguments = ["sweep", folder / "small.toml", "--store", folder / "runs.db"]
    result = _run(*arguments, "--status", "--set", "grid.seeds=3", "--json")
    assert [(row["done"], row["total"]) for row in json.loads(result.stdout)["small"]] == [(26, 39), (26, 39)]


def test_a_dry_run_counts_what_is_missing_and_runs_nothing(folder: Path) -> None:
    before = (folder / "runs.db").read_bytes()
    arguments = ["sweep", folder / "small.toml", "--store", folder / "runs.db", "--set", "grid.seeds=3", "--dry-run"]
    shown = _run(*arguments)
    assert shown.exit_code == 0, shown.output
    assert "26 cells" in shown.stdout
    assert "floating-point operations" in shown.stdout
    cost = json.loads(_run(*arguments, "--json").stdout)
    assert [row["cells"] for row in cost["depths"]] == [13, 13]
    # Three forward passes for 1024 training images, one for 256 validation images; a multiplication is two operations.
    positions, width, readout = 64, 8, 2 * 8 * 10
    for row in cost["depths"]:
        forward = 2 * 9 * positions * (3 * width + (row["depth"] - 1) * width**2) + readout
        assert row["flops"] == pytest.approx(13 * forward * (3 * 1024 + 256), rel=1e-3)
        assert row["seconds"] > 0
    assert cost["hours"] > 0
    assert (folder / "runs.db").read_bytes() == before
    nothing = _run("sweep", folder / "small.toml", "--store", folder / "runs.db", "--dry-run", "--json")
    assert json.loads(nothing.stdout)["flops"] == 0


def test_fit_prints_optima_slope_and_segments(folder: Path) -> None:
    result = _run("fit", folder / "runs.db", "--keep-flagged")
    assert result.exit_code == 0, result.output
    for text in ("argmax", "smoothed", "± s.e.", "flags", "slope of log lr on log L", "segment on L = 2, 3 → 4"):
        assert text in result.stdout
    answer = json.loads(_run("fit", folder / "runs.db", "--keep-flagged", "--json").stdout)
    assert [optimum["depth"] for optimum in answer["optima"]] == [2, 3]
    low, high = answer["optima"]
    expected = np.log(high["smoothed"] / low["smoothed"]) / np.log(3 / 2)
    assert answer["slope"] == pytest.approx(expected)
    assert answer["slope_se"] is None  # two depths have no scatter
    assert answer["missing"] == 0


def test_fit_of_argmax_is_the_best_grid_point(folder: Path) -> None:
    with Store(folder / "runs.db", mode="read") as store:
        runs = store.table(Experiment.from_toml(TOML).key)
    answer = json.loads(_run("fit", folder / "runs.db", "--optimum", "argmax", "--json").stdout)
    for optimum in answer["optima"]:
        here = runs[(runs["depth"] == optimum["depth"])].dropna(subset="val_accuracy")
        lost = runs[(runs["depth"] == optimum["depth"]) & runs["diverged"]]["lr"]
        best = [g.loc[g["val_accuracy"].idxmax(), "lr"] for _, g in here[~here["lr"].isin(lost)].groupby("seed")]
        assert optimum["argmax"] == pytest.approx(np.exp(np.log(best).mean()))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_export_writes_every_run(folder: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"runs{suffix}"
    result = _run("fit", folder / "runs.db", "--export", path)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert len(table) == 52
    assert {"depth", "lr", "seed", "val_accuracy", "commit", "versions", "device", "strategy"} <= set(table.columns)
    again = _run("fit", folder / "runs.db", "--export", path)
    assert again.exit_code == 2
    assert "exists" in again.stderr


def test_fit_draws_the_curves_and_the_law(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "law.png"
    assert _run("fit", folder / "runs.db", "--plot", path).exit_code == 0
    assert path.stat().st_size > 10_000


def test_stores_are_merged(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    first = _run("sweep", "--store", other, "--merge", folder / "runs.db")
    assert first.stdout == f"52 runs added to {other}\n"
    assert json.loads(_run("sweep", "--store", other, "--merge", folder / "runs.db", "--json").stdout) == {
        "added": 0,
        "differ": 0,
    }
    ours, theirs = (_run("fit", store, "--json").stdout for store in (other, folder / "runs.db"))
    assert ours == theirs


def test_an_unfinished_sweep_says_so(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "half.db"
    with Store(folder / "runs.db", mode="read") as whole, Store(store, mode="write") as half:
        merge(half, whole)
        half.connection.execute("DELETE FROM runs WHERE seed = 1 AND lr > 1")
    shown = _run("fit", store)
    assert "cells are missing" in shown.stdout
    assert "8 cells of the grid are not done yet" in shown.stdout
    assert "no line" in shown.stdout


def test_several_experiments_are_told_apart(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "two.db"
    _run("sweep", "--store", store, "--merge", folder / "runs.db")
    changes = ["--set", "name=other", "--set", "training.batch_size=64", "--set", "grid={depths=[2], lrs=[0.1, 1.0]}"]
    assert _run("sweep", folder / "small.toml", "--store", store, "--workers", 1, *changes, "--json").exit_code == 0
    result = _run("fit", store)
    assert result.exit_code == 2
    assert "several experiments: other (" in result.stderr
    assert _run("fit", store, "--experiment", "small").exit_code == 0
    unknown = _run("fit", store, "--experiment", "smal")
    assert unknown.exit_code == 2
    assert "nearest of 2: small" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "--store", "x.db"], "give an experiment file"),
        (["sweep", "nowhere.toml", "--store", "x.db"], "nowhere.toml"),
        (["sweep", "small.toml"], "Missing option '--store'"),
        (["sweep", "small.toml", "--store", "x.db", "--set", "grid.seed=1"], "grid.seed: there is no such setting"),
        (["sweep", "small.toml", "--store", "no/x.db"], "does not exist"),
        (["sweep", "small.toml", "--store", "small.toml"], "not a store of ammup"),
        (["sweep", "--store", "x.db", "--status"], "x.db does not exist"),
        (["sweep", "--store", "x.db", "--merge", "y.db"], "y.db does not exist"),
        (["sweep", "small.toml", "--store", "x.db", "--device", "abacus", "--workers", "1"], "abacus"),
        (["sweep", "small.toml", "--store", "x.db", "--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers"),
        (["fit", "x.db"], "x.db does not exist"),
        (["fit", "small.toml"], "not a store of ammup"),
        (["fit", "runs.db", "--plot", "law.doc"], "allowed suffixes"),
        (["fit", "runs.db", "--export", "law.xls"], "allowed suffixes: .csv, .parquet, .json"),
        (["fit", "runs.db", "--experiment", "x"], "experiment 'x' is not known"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    arguments: list[str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ammup.experiments.cluster.CONNECT_SECONDS", 0.5)
    monkeypatch.chdir(folder)
    result = _run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not Path("x.db").exists() or arguments[-1] in ("1", "tcp://127.0.0.1:1")
    for leftover in folder.glob("x.db*"):
        leftover.unlink()


def test_help_shows_an_example() -> None:
    for verb in ("sweep", "fit"):
        assert f"ammup {verb}" in _run(verb, "--help").stdout.split("Examples:")[1]


def test_the_shipped_experiments_are_listed() -> None:
    result = _run("sweep", "--list")
    assert result.exit_code == 0
    assert "cnn-relu-cifar10 " in result.stdout
    assert "Fig. 2(a)" in result.stdout


def test_a_profile_and_a_variant_are_chosen_by_name(tmp_path: Path) -> None:
    text = TOML.replace("points = 13", "points = 2") + (
        "[variants.one]\n[variants.two]\nmodel = {arguments = {width = 4}}\n[profiles.tiny]\ngrid = {seeds = 1}\n"
    )
    path, store = tmp_path / "two.toml", tmp_path / "runs.db"
    path.write_text(text)
    result = _run("sweep", path, "--profile", "tiny", "--store", store, "--workers", 1)
    assert result.exit_code == 0, result.output
    found = json.loads(_run("sweep", "--store", store, "--status", "--json").stdout)
    assert {name: [row["total"] for row in rows] for name, rows in found.items()} == {
        "small-one-tiny": [2, 2],
        "small-two-tiny": [2, 2],
    }
    full = _run("sweep", path, "--variant", "two", "--store", store, "--status", "--json")
    assert [(row["done"], row["total"]) for row in json.loads(full.stdout)["small-two"]] == [(2, 4), (2, 4)]
    costs = _run("sweep", path, "--profile", "tiny", "--store", tmp_path / "no.db", "--dry-run", "--json").stdout
    assert [json.loads(line)["experiment"] for line in costs.splitlines()] == ["small-one-tiny", "small-two-tiny"]
    unknown = _run("sweep", path, "--profile", "huge", "--store", store)
    assert unknown.exit_code == 2
    assert "profile 'huge' is not known; it holds tiny" in unknown.output


def test_what_a_rule_loses_is_shown(folder: Path) -> None:
    shown = _run("fit", folder / "runs.db", "--transfer").stdout
    assert all(rule in shown for rule in ("constant", "L^-1/2", "L^-1", "am-mup", "swept"))
    rows = json.loads(_run("fit", folder / "runs.db", "--transfer", "--base", 3, "--json").stdout)["transfer"]
    assert {row["depth"] for row in rows} == {2}
    assert all(row["accuracy_low"] <= row["accuracy_lost"] <= row["accuracy_high"] for row in rows)
    wrong = _run("fit", folder / "runs.db", "--transfer", "--base", 7)
    assert wrong.exit_code == 2
    assert "base=7 is no depth of the runs" in wrong.output


def test_a_record_stands_for_its_store(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    assert _run("fit", folder / "runs.db", "--export", path).exit_code == 0
    sources = (path, folder / "runs.db")
    ours, theirs = (json.loads(_run("fit", source, "--keep-flagged", "--json").stdout) for source in sources)
    assert ours["slope"] == pytest.approx(theirs["slope"], rel=1e-4)
    assert ours["segments"][0]["anchors"] == theirs["segments"][0]["anchors"]


@pytest.mark.parametrize("figure", ["panel", "accuracies", "heatmap", "overlay"])
def test_each_figure_is_drawn(folder: Path, tmp_path: Path, figure: str) -> None:
    path = tmp_path / "figure.svg"
    arguments = ["--against", "small"] if figure == "overlay" else []
    result = _run("fit", folder / "runs.db", "--figure", figure, "--plot", path, "--keep-flagged", *arguments)
    assert result.exit_code == 0, result.output
    assert path.read_text().lstrip().startswith("<?xml")


def test_against_belongs_to_an_overlay(folder: Path, tmp_path: Path) -> None:
    result = _run("fit", folder / "runs.db", "--figure", "panel", "--plot", tmp_path / "x.png", "--against", "small")
    assert result.exit_code == 2
    assert "--against belongs to --figure overlay" in result.output


def test_a_report_is_one_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = _run("report", folder / "runs.db", "-o", page)
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert "small" in text
    assert "theorem-1" in text
    again = _run("report", folder / "runs.db", "-o", page)
    assert again.exit_code == 2
    assert "exists; give another name" in again.output
    assert _run("report", tmp_path / "no.db", "-o", tmp_path / "b.html").exit_code == 2
