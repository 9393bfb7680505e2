"""Rows of S̄ with known statistics, and temporary folders for baselines, inside and outside a git repository."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from claim_records import commit, git

from ammup.claims import baselines

RowsOf = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def rows_of() -> RowsOf:
    """A function that returns scattered rows of S̄ whose column means correspond to the given η*."""

    def rows(*lr_star: float) -> np.ndarray:
        scatter = np.array([0.25, 0.5, 1.0, 2.25])
        return scatter[:, None] * np.array(lr_star, dtype=np.float64) ** -2

    return rows


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for baselines outside every git repository, without CI and the user's git configuration."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in [name for name in os.environ if name == "CI" or name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "repository" / "baselines"
    folder.mkdir(parents=True)
    monkeypatch.setattr(baselines, "folder", lambda: folder)
    return folder


@pytest.fixture
def checkout(outside: Path) -> Path:
    """The same folder in a git repository with one commit."""
    git(outside.parent, "init", "--quiet")
    commit(outside.parent)
    return outside
