"""`ammup sweep` as a user types it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import assert_refused, run

from ammup.experiments.experiment import Experiment
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep


def test_status_shows_the_finished_cells_of_each_depth(sweep_folder: Path) -> None:
    for experiment in ([], [sweep_folder / "small.toml"]):
        result = run("sweep", *experiment, "--store", sweep_folder / "runs.db", "--status")
        assert result.exit_code == 0, result.output
        for text in ("small", "26/26", "best lr so far", "val. accuracy"):
            assert text in result.stdout
    answer = json.loads(run("sweep", "--store", sweep_folder / "runs.db", "--status", "--json").stdout)
    assert [row["depth"] for row in answer["small"]] == [2, 3]
    assert [row["done"] for row in answer["small"]] == [26, 26]


def test_a_changed_setting_adds_cells_to_the_grid(sweep_folder: Path) -> None:
    arguments = ["sweep", sweep_folder / "small.toml", "--store", sweep_folder / "runs.db"]
    result = run(*arguments, "--status", "--set", "grid.seeds=3", "--json")
    assert [(row["done"], row["total"]) for row in json.loads(result.stdout)["small"]] == [(26, 39), (26, 39)]


def test_a_changed_experiment_has_a_name_of_its_own(tmp_path: Path, toml: str) -> None:
    path, store = tmp_path / "small.toml", tmp_path / "runs.db"
    path.write_text(toml.replace("points = 13", "points = 2"))
    for change in ([], ["--set", "model.arguments.width=4"]):
        assert run("sweep", path, "--store", store, "--workers", 1, *change).exit_code == 0
    status = json.loads(run("sweep", "--store", store, "--status", "--json").stdout)
    assert {name: [row["done"] for row in rows] for name, rows in status.items()} == {
        "small": [4, 4],
        "small+width=4": [4, 4],
    }
    changed = json.loads(run("fit", store, "--experiment", "small+width=4", "--json").stdout)
    assert changed["experiment"] == "small+width=4"
    assert json.loads(run("fit", store, "--experiment", "small", "--json").stdout)["experiment"] == "small"


def test_a_store_of_an_earlier_version_is_shown_and_resumed(tmp_path: Path, toml: str) -> None:
    """Earlier versions stored a changed experiment under the name of its file."""
    path, store = tmp_path / "small.toml", tmp_path / "runs.db"
    path.write_text(toml.replace("points = 13", "points = 2"))
    experiments = [Experiment.from_toml(path.read_text(), changes=[f"model.arguments.width={n}"]) for n in (8, 4)]
    for experiment in experiments:
        run_sweep(replace(experiment, name="small"), store=store, workers=1, progress=False)
    status = json.loads(run("sweep", "--store", store, "--status", "--json").stdout)
    assert set(status) == {f"small ({experiment.key[:8]})" for experiment in experiments}
    with Store(store, mode="read") as opened:
        before = opened.table(experiments[1].key)
    result = run("sweep", path, "--store", store, "--workers", 1, "--set", "model.arguments.width=4")
    assert result.exit_code == 0, result.output
    with Store(store, mode="read") as opened:
        after = opened.table(experiments[1].key)
        assert [one.name for one in opened.experiments()] == ["small", "small+width=4"]
    assert after["finished_at"].tolist() == before["finished_at"].tolist()  # nothing was trained again
    assert after["experiment"].unique().tolist() == ["small+width=4"]


def test_a_list_without_brackets_changes_the_grid(sweep_folder: Path) -> None:
    arguments = ["sweep", sweep_folder / "small.toml", "--store", sweep_folder / "runs.db", "--status", "--json"]
    for given, depths in (("2,3,5", [2, 3, 5]), ("3", [3])):
        status = json.loads(run(*arguments, "--set", f"grid.depths={given}").stdout)
        assert [row["depth"] for row in status["small"]] == depths


def test_a_dry_run_estimates_the_missing_cells_and_trains_nothing(sweep_folder: Path) -> None:
    before = (sweep_folder / "runs.db").read_bytes()
    command = ["sweep", sweep_folder / "small.toml", "--store", sweep_folder / "runs.db", "--dry-run"]
    arguments = [*command, "--set", "grid.seeds=3"]
    shown = run(*arguments)
    assert shown.exit_code == 0, shown.output
    assert "26 cells" in shown.stdout
    assert " minutes for the cells on this machine" in shown.stdout
    assert "floating-point operations" in shown.stdout
    cost = json.loads(run(*arguments, "--json").stdout)
    assert [row["cells"] for row in cost["depths"]] == [13, 13]
    # Three forward passes for 512 training images, one for 128 validation images; a multiplication is two operations.
    positions, width, readout = 64, 8, 2 * 8 * 10
    for row in cost["depths"]:
        forward = 2 * 9 * positions * (3 * width + (row["depth"] - 1) * width**2) + readout
        assert row["flops"] == pytest.approx(13 * forward * (3 * 512 + 128), rel=1e-3)
        assert row["seconds"] > 0
    assert cost["hours"] > 0
    assert cost["minutes"] == pytest.approx(60 * cost["hours"])
    assert (sweep_folder / "runs.db").read_bytes() == before
    complete = run(*command, "--json")
    assert json.loads(complete.stdout)["flops"] == 0


def test_stores_are_merged(sweep_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    first = run("sweep", "--store", other, "--merge", sweep_folder / "runs.db")
    assert first.stdout == f"52 runs added to {other}\n"
    assert json.loads(run("sweep", "--store", other, "--merge", sweep_folder / "runs.db", "--json").stdout) == {
        "added": 0,
        "differ": 0,
    }
    merged, original = (run("fit", store, "--json").stdout for store in (other, sweep_folder / "runs.db"))
    assert merged == original


def test_finished_cells_are_stored_after_ctrl_c_and_the_same_command_resumes(project: Path, toml: str) -> None:
    text = toml.replace('"cnn"', '"their_nets:stopped_at_depth_2"').replace("points = 13", "points = 2")
    (project / "stopped.toml").write_text(text)
    (project / "stop").touch()
    command = ["sweep", "stopped.toml", "--store", "runs.db", "--workers", 1]
    result = run(*command)
    assert result.exit_code == 130
    done = json.loads(run(*command, "--status", "--json").stdout)["small"]
    assert [(row["depth"], row["done"], row["total"]) for row in done] == [(2, 0, 4), (3, 4, 4)]
    (project / "stop").unlink()
    assert run(*command).exit_code == 0
    done = json.loads(run(*command, "--status", "--json").stdout)["small"]
    assert [row["done"] for row in done] == [4, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "x.db"], "--status, --list or --merge"),
        (["nowhere.toml", "--store", "x.db"], "nowhere.toml"),
        (["small.toml"], "'--store'"),
        (["small.toml", "--store", "x.db", "--set", "grid.seed=1"], "grid.seed"),
        (["small.toml", "--store", "no/x.db"], "no/x.db"),
        (["small.toml", "--store", "small.toml"], "small.toml"),
        (["small.toml", "--store", "x.db", "--status", "--dry-run"], "--status, --dry-run and --merge"),
        (["--store", "x.db", "--status"], "x.db"),
        (["--store", "x.db", "--merge", "y.db"], "y.db"),
        (["--store", "x.db", "--merge", "x.db"], "--merge x.db"),
        (["small.toml", "--store", "x.db", "--workers", "0"], "0 is not in the range"),
        (["small.toml", "--store", "x.db", "--device", "abacus", "--workers", "1"], "abacus"),
        (["small.toml", "--store", "x.db", "--scheduler", "tcp://127.0.0.1:1"], "tcp://127.0.0.1:1"),
        (["small.toml", "--store", "x.db", "--dry-run", "--scheduler", "tcp://127.0.0.1:1"], "tcp://127.0.0.1:1"),
        (["small.toml", "--store", "no/x.db", "--dry-run"], "no/x.db"),
        (["small.toml", "--store", "x.db", "--dry-run", "--set", "short_run={lr=1, steps=[350]}"], "steps=[350]"),
    ],
)
def test_invalid_input_is_a_one_line_error(
    arguments: list[str], message: str, sweep_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ammup.experiments.cluster.CONNECT_SECONDS", 0.5)
    monkeypatch.chdir(sweep_folder)
    assert_refused(run("sweep", *arguments), message)
    assert not Path("x.db").exists() or arguments[-1] in ("1", "tcp://127.0.0.1:1")
    for leftover in sweep_folder.glob("x.db*"):
        leftover.unlink()


def test_the_included_experiments_are_listed() -> None:
    result = run("sweep", "--list")
    assert result.exit_code == 0
    assert "cnn-relu-cifar10 " in result.stdout
    assert "Fig. 2(a)" in result.stdout


def test_a_profile_and_a_variant_are_selected_by_name(tmp_path: Path, toml: str) -> None:
    text = toml.replace("points = 13", "points = 2") + (
        "[variants.one]\n[variants.two]\nmodel = {arguments = {width = 4}}\n[profiles.tiny]\ngrid = {seeds = 1}\n"
    )
    path, store = tmp_path / "two.toml", tmp_path / "runs.db"
    path.write_text(text)
    result = run("sweep", path, "--profile", "tiny", "--store", store, "--workers", 1)
    assert result.exit_code == 0, result.output
    status = json.loads(run("sweep", "--store", store, "--status", "--json").stdout)
    assert {name: [row["total"] for row in rows] for name, rows in status.items()} == {
        "small-one-tiny": [2, 2],
        "small-two-tiny": [2, 2],
    }
    full = run("sweep", path, "--variant", "two", "--store", store, "--status", "--json")
    assert [(row["done"], row["total"]) for row in json.loads(full.stdout)["small-two"]] == [(2, 4), (2, 4)]
    costs = run("sweep", path, "--profile", "tiny", "--store", tmp_path / "no.db", "--dry-run", "--json").stdout
    assert [json.loads(line)["experiment"] for line in costs.splitlines()] == ["small-one-tiny", "small-two-tiny"]
    unknown = run("sweep", path, "--profile", "huge", "--store", store)
    assert_refused(unknown, "profile 'huge'")
    assert "tiny" in unknown.stderr
