"""The script that measures the sweep kernel on a GPU: a dry run on the CPU, its budget, and the printed table."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_dry_run_runs_the_tests_and_every_cell() -> None:
    done = _run("benchmarks.gpu", "--dry-run", "--without", "vmap, compiled", "JAX", "asv")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| 2, ")]
    assert [row.split(" | ")[0] for row in rows] == [f"| 2, {dtype}, 2" for dtype in ("float32", "tf32", "bfloat16")]
    for row in rows:  # five methods, two ratios and a share, all of them numbers
        assert all(float(cell.strip(" %|").replace(",", "")) >= 0 for cell in row.split(" | ")[1:])
    assert "0 cells were not reached" in done.stdout


def test_cells_that_the_budget_does_not_reach_are_listed() -> None:
    done = _run("benchmarks.gpu", "--dry-run", "--budget", "0", "--without", "vmap, compiled", "JAX", "asv")
    assert done.returncode == 1
    assert done.stdout.count(": not reached") == 1  # the tests
    assert "15 cells were not reached" in done.stdout
    assert "tests: not reached" in done.stderr


def test_a_run_needs_a_valid_name() -> None:
    done = _run("benchmarks.gpu", "--machine", "../x")
    assert done.returncode == 2
    assert "--machine NAME" in done.stderr


def test_the_table_is_printed_from_a_record(tmp_path: Path) -> None:
    cell = {"C": 16, "dtype": "tf32", "replicas": 4}
    cells = [
        cell | {"way": "obvious loop", "images_per_second": 100.0, "roofline": 0.1},
        cell | {"way": "ours, recorded", "images_per_second": 300.0, "roofline": 0.3},
        cell | {"way": "vmap", "images_per_second": 200.0, "roofline": 0.2},
        cell | {"way": "JAX", "reason": "stopped after 30 s"},
    ]
    record = {"device": "D", "machine": "m", "torch": "2", "commit": "c", "checks": {"tests": "passed"}, "cells": cells}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(record))
    done = _run("benchmarks.gpu_table", str(path))
    assert done.stdout.splitlines()[-1] == "| 16, tf32, 4 | 100 | 300 | 200 | stopped after 30 s | 3.00 | 1.50 | 30% |"
