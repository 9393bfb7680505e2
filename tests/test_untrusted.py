"""What a file from somebody else can make ammup do: nothing but be read."""

import ast
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import ammup
from ammup.cli import cli
from ammup.experiments.experiment import Experiment
from ammup.experiments.merge import merge
from ammup.experiments.store import Store
from ammup.experiments.sweep import run_sweep

SOURCES = sorted(Path(ammup.__file__).parent.rglob("*.py"))
HOSTILE = "x'); DROP TABLE runs; --"
SWEEP = """
name = "NAME"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 64, validation = 32}
grid = {depths = [2], lrs = [0.1, 1.0]}
"""


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_is_unpickled_and_no_text_is_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert not imported & {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
    for name, call in _calls(tree):
        assert name not in {"eval", "exec", "compile", "pd.read_pickle", "os.system"}, name
        if name == "np.load":
            assert "allow_pickle=False" in ast.unparse(call)
        if name == "torch.load":
            assert "weights_only=True" in ast.unparse(call)
        assert "shell=True" not in ast.unparse(call)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    run_sweep(Experiment.from_toml(SWEEP.replace("NAME", HOSTILE)), store=tmp_path / "runs.db", workers=1)
    return tmp_path / "runs.db"


def test_a_name_is_no_sql(store: Path) -> None:
    result = CliRunner().invoke(cli, ["fit", str(store), "--experiment", HOSTILE, "--json"])
    assert HOSTILE in result.output
    assert CliRunner().invoke(cli, ["fit", str(store), "--experiment", "' OR '1'='1"]).exit_code == 2
    with Store(store, mode="read") as opened:
        (experiment,) = opened.experiments()
        assert len(opened.runs(experiment.key)) == 2


def test_columns_and_triggers_of_another_store_do_nothing(store: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.db"
    theirs.write_bytes(store.read_bytes())
    hostile = sqlite3.connect(theirs)
    hostile.execute('ALTER TABLE runs ADD COLUMN "x) SELECT * FROM runs; DROP TABLE runs; --" TEXT')
    hostile.execute("CREATE TRIGGER emptied AFTER INSERT ON invocations BEGIN DELETE FROM runs; END")
    hostile.commit()
    hostile.close()
    with Store(tmp_path / "ours.db", mode="write") as ours, Store(theirs, mode="read") as other:
        assert merge(ours, other) == (2, 0)
        (experiment,) = ours.experiments()
        assert len(ours.runs(experiment.key)) == 2
