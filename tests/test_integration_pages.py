"""docs/integrations: the Python blocks run and print what they state, commands run, and experiment files are valid."""

import re
import shlex
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from command_line import run
from pages import INTEGRATIONS, codes, commands, prepare_folder

import ammup

NEEDED = {
    "trainers": ("lightning", "transformers", "accelerate", "ignite"),
    "loggers": ("tensorboard",),
    "optuna": ("optuna",),
}
FILE = re.compile(r"# (\w+\.py)\n")
# Options that make a command shorter, or replace data that are not here.
MORE = {
    "exponent": ("--seeds", "1"),
    "sweep": ("--set", "data.source=synthetic", "--workers", "1"),
}
# What is made smaller in the blocks of a page; the build of the site executes them as they are.
SMALLER = {"optuna": {"n_trials=8": "n_trials=4", "epochs=2": "epochs=1", "seeds=4": "seeds=2"}}
PRINTED = re.compile(r"^print\(.*\)  # (.+)$", flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare_folder(tmp_path, monkeypatch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", INTEGRATIONS, ids=lambda page: page.stem)
def test_the_python_blocks_of_a_page_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDED.get(page.stem, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")
    namespace: dict[str, object] = {"__name__": page.stem}
    smaller = SMALLER.get(page.stem, {})
    assert all(old in page.read_text(encoding="utf-8") for old in smaller)
    for i, block in enumerate(codes(page, "python", "{code-cell}")):
        for old, new in smaller.items():
            block = block.replace(old, new)
        if named := FILE.match(block):  # the block is that file
            (folder / named[1]).write_text(block, encoding="utf-8")
            monkeypatch.delitem(sys.modules, Path(named[1]).stem, raising=False)
            continue
        with redirect_stdout(StringIO()) as output:
            exec(compile(block, f"{page.name}, block {i}", "exec"), namespace)
        assert set(PRINTED.findall(block)) <= set(output.getvalue().splitlines())


@pytest.mark.parametrize("page", [page for page in INTEGRATIONS if commands(page)], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page: Path, folder: Path) -> None:
    for command in commands(page):
        program, *arguments = shlex.split(command)
        assert program == "ammup"
        if any(word.startswith("timm:") for word in arguments):
            pytest.importorskip("timm", reason="timm is not installed")
            arguments += ["--image-size", "16"]
        done = run(*arguments, *MORE.get(arguments[0], ()))
        assert done.exit_code == 0, f"{command}\n{done.output}"


@pytest.mark.parametrize("page", INTEGRATIONS, ids=lambda page: page.stem)
def test_experiment_files_are_valid(page: Path) -> None:
    for text in codes(page, "toml"):
        assert len(ammup.Experiment.from_toml(text).key) == 32


def test_every_page_is_in_the_index() -> None:
    index = next(page for page in INTEGRATIONS if page.stem == "index").read_text(encoding="utf-8")
    assert all(f"({page.name})" in index for page in INTEGRATIONS if page.stem != "index")
