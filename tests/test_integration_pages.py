"""docs/integrations: the Python blocks run, experiment files are valid, and commands parse."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import ammup
from ammup.cli import cli

PAGES = sorted((Path(__file__).parents[1] / "docs" / "integrations").glob("*.md"))
NEEDED = {"trainers": ("lightning", "transformers", "accelerate", "ignite"), "loggers": ("tensorboard",)}
FILE = re.compile(r"# (\w+\.py)\n")


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDED.get(page.stem, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace: dict[str, object] = {"__name__": page.stem}
    for i, block in enumerate(_blocks(page, "python")):
        if named := FILE.match(block):  # the block is that file
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
            monkeypatch.delitem(sys.modules, Path(named[1]).stem, raising=False)
        else:
            exec(compile(block, f"{page.name}, block {i}", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_experiment_files_are_valid_and_commands_parse(page: Path) -> None:
    for block in _blocks(page, "toml"):
        assert len(ammup.Experiment.from_toml(block).key) == 32
    for line in (line for block in _blocks(page, "bash") for line in block.splitlines()):
        words = shlex.split(line)
        assert words[0] == "ammup"
        cli.commands[words[1]].make_context(words[1], words[2:])


def test_every_page_is_in_the_index() -> None:
    index = next(page for page in PAGES if page.stem == "index").read_text(encoding="utf-8")
    assert all(f"({page.name})" in index for page in PAGES if page.stem != "index")
