"""The live display of a running sweep."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from ammup import progress
from ammup.experiments import live
from ammup.experiments.experiment import Experiment
from ammup.experiments.live import Display
from ammup.experiments.status import status_of
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep
from ammup.training.runs import Run


def _run(depth: int, lr: float, seed: int, accuracy: float) -> Run:
    diverged = accuracy != accuracy
    return Run(
        depth=depth,
        lr=lr,
        seed=seed,
        val_accuracy=accuracy,
        val_loss=accuracy,
        train_loss=accuracy,
        diverged=diverged,
        steps=1,
        curve=(),
        seconds=1.0,
        images_per_second=1.0,
        strategy="loop",
    )


def _text(display: Display) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(display.render())
    return console.file.getvalue()


@pytest.fixture
def empty_tables(small: Experiment, tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of runs and the table of left-out cells of an empty store."""
    with Store(tmp_path / "runs.db", mode="write") as store:
        return store.table(small.key), store.left_out(small.key)


def test_the_display_shows_cells_best_learning_rate_and_remaining_time(
    small: Experiment, empty_tables: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    display = Display(small, *empty_tables, show=False)
    assert "0 of 16 cells, 0:00:00 elapsed, about ? remaining" in _text(display)
    display.add([_run(3, 0.03, 0, 0.2), _run(3, 0.3, 0, 0.5), _run(3, 0.03, 1, 0.6), _run(3, 3.0, 0, float("nan"))])
    now = 112.0  # four cells of depth 3 took 12 seconds; cells with 28 layers in total remain
    text = _text(display)
    assert "4 of 16 cells, 0:00:12 elapsed, about 0:00:28 remaining" in text
    row = next(line for line in text.splitlines() if "│ 3 │" in line)
    assert [part.strip() for part in row.split("│")[1:-1]] == ["3", "4/8", "1", "0.3", "50.0%"]


def test_a_cell_that_is_trained_again_is_counted_once(
    small: Experiment, empty_tables: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    display = Display(small, *empty_tables, show=False)
    display.add([_run(3, 0.03, 0, 0.2)])
    display.add([_run(3, 0.03, 0, 0.2)])
    assert "1 of 16 cells" in _text(display)


def test_the_table_is_shown_in_a_terminal_and_a_line_in_a_file(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress._LOG, "last", -float("inf"))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    run_sweep(small, store=tmp_path / "quiet.db", workers=1, progress=False)
    assert capsys.readouterr().err == ""
    run_sweep(small, store=tmp_path / "logged.db", workers=1)
    assert capsys.readouterr().err == f"{small.name}: 0 of 16 cells, 0:00:00 elapsed, about ? remaining\n"
    screen = StringIO()
    monkeypatch.setattr(live, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=100))
    run_sweep(small, store=tmp_path / "shown.db", workers=1)
    assert "16 of 16 cells" in screen.getvalue()


def test_status_counts_the_cells_of_the_current_grid(small: Experiment, tmp_path: Path) -> None:
    run_sweep(small, store=tmp_path / "runs.db", workers=1)
    grown = Experiment.from_toml(small.to_toml(), changes=["grid.seeds=3"])
    with Store(tmp_path / "runs.db", mode="read") as store:
        table, left_out = store.table(small.key), store.left_out(small.key)
    status = status_of(grown, table, left_out).set_index("depth")
    assert status["done"].tolist() == [8, 8]
    assert status["total"].tolist() == [12, 12]
    assert status["diverged"].tolist() == [2, 2]
    finite = table[~table["diverged"]]
    for depth, row in status.iterrows():
        means = finite[finite["depth"] == depth].groupby("lr")["val_accuracy"].mean()
        assert row["best_lr"] == means.idxmax()
        assert row["val_accuracy"] == means.max()
