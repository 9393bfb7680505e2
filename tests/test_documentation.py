"""Every code block of README.md and of the pages in docs/ runs.

* Blocks with ``>>>`` are doctests, which pytest collects.
* Tutorials are executed when the site is built.
* Here: commands in ``sh`` blocks, other ``python`` blocks, ``toml`` files, and links.

Blocks that show commands with their output, or that need a cluster, another machine or hours, are marked ``text``.
"""

import os
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import run

import ammup
from ammup.experiments.files import read_experiments

ROOT = Path(__file__).parents[1]
# Tutorials have a kernel; the build of the site executes them.
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "_build" not in path.parts and "kernelspec:" not in path.read_text(encoding="utf-8")
    if "integrations" not in path.parts  # they need other packages: test_integration_pages.py
]
LANGUAGES = {"", "sh", "bash", "python", "toml", "text", "yaml", "json", "{toctree}", "{eval-rst}", "{include}"}
# Programs that install, download or start everything; the steps of .ci/run run them.
OTHERS = {"pip", "git", "cd", "source", "pre-commit", "pytest", "ruff", "mypy", "lint-imports", "sphinx-build",
          "python", ".ci/run"}  # fmt: skip
MODELS = """
from torch import nn

def make_net(depth):
    layers = [m for _ in range(depth) for m in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), *layers, nn.Linear(32, 10))
"""
TRAIN = """
import argparse, json, torch
from my_package.models import make_net
parser = argparse.ArgumentParser()
for name, kind in (("--depth", int), ("--lr", float), ("--seed", int)):
    parser.add_argument(name, type=kind)
options = parser.parse_args()
torch.manual_seed(options.seed)
net, inputs, labels = make_net(options.depth), torch.randn(32, 192), torch.arange(32) % 10
optimizer = torch.optim.SGD(net.parameters(), lr=options.lr)
for step in range(1, 13):
    loss = torch.nn.functional.cross_entropy(net(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(json.dumps({"step": step, "loss": loss.item(), "score": 1 / (1 + loss.item())}), flush=True)
"""
SMALL = """
name = "mine"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 256, validation = 128}
grid = {depths = [2, 3], lrs = {low = 0.01, high = 10.0, points = 7}, seeds = 1}
training = {batch_size = 32}
"""
# The arguments with which commands that take minutes or hours are run here.
SHORTER = {
    "ammup exponent": "--depths 2,4 --seeds 2 --width 16",
    "ammup exponent mlp --depths 2,4,8 --seeds 4 --measure sharpness": "--width 16",
}
# Further arguments by verb. None: it compares commits and rewrites files; tests/claims runs it.
ALWAYS = {
    "sweep": "--workers 1",
    "tune": "--steps 12 --probes 1 --no-check",
    "check": "--seeds 4 --margin 3",
    "baselines": None,
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; a fence of colons holds Markdown, not code."""
    found = re.findall(
        r"^(`{3,})([^\n`]*)\n(.*?)^\1$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return [Block(language=language.strip().split(" ")[0], text=text) for _, language, text in found]


def commands(page: Path) -> list[str]:
    """The lines of the ``sh`` blocks of a page without their comments, one command for each ``&&``."""
    texts = [block.text for block in blocks(page) if block.language in ("sh", "bash")]
    texts = [text.replace("\\\n", " ") for text in texts]
    lines = [re.split(r"\s+# ", line)[0] for text in texts for line in text.splitlines()]
    return [part.strip() for line in lines for part in line.split("&&") if part.strip()]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a reader: a package with models, an experiment, the store of another machine, baselines."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "models.py").write_text(MODELS)
    (tmp_path / "EXPERIMENT.toml").write_text(SMALL)
    (tmp_path / "train.py").write_text(TRAIN)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    (tmp_path / "tests").mkdir()
    (tmp_path / "baselines").symlink_to(ROOT / "baselines")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)  # pages record baselines
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_has_a_language_that_is_run_or_shown(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_the_commands_of_a_page_run(page: Path, folder: Path) -> None:
    if any("another_machine.db" in command for command in commands(page)):
        made = run(
            "sweep", "EXPERIMENT.toml", "--store", "another_machine.db", "--workers", 1, "--set", "grid.depths=[2]"
        )
        assert made.exit_code == 0, made.output
    for command in commands(page):
        program, *arguments = shlex.split(command)
        if program != "ammup":
            assert program in OTHERS, command
            files = [word for word in arguments if program == "python" and word.endswith(".py")]
            assert all((ROOT / word).exists() for word in files), command
            continue
        more = ALWAYS.get(arguments[0], "")
        if more is None or "--merge" in command or "--status" in command:
            more = None if more is None else ""
        if more is not None:
            before, separator, after = " ".join(map(shlex.quote, arguments)).partition(" -- ")
            shorter = shlex.split(f"{before} {SHORTER.get(command, more)} {separator} {after}")
            done = run(*shorter)
            assert done.exit_code == 0, f"{command}\n{done.output}"


# The names that the fragments of a page use without defining them.
BEFORE = {
    "README.md": "import ammup",
    "docs/tune.md": "import argparse; epochs, total, part, accuracy = 1, 2.0, 1, 0.5",  # an excerpt of a script
    "docs/transfer.md": """
import ammup, torch
from my_package.models import make_net
images, labels = ammup.load_data("synthetic", image_size=8).batch(16)
net, lr = make_net(2), 0.1
law = ammup.depth_exponent(make_net, [2, 4, 8], inputs=images, targets=labels, loss="cross_entropy", seeds=2)
data = ammup.load_data("synthetic", image_size=8, train=1024, validation=128)
""",
}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_python_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    names: dict[str, object] = {}
    codes = [block.text for block in blocks(page) if block.language == "python" and ">>>" not in block.text]
    if codes:
        exec(BEFORE.get(named(page), ""), names)
    for code in codes:
        try:
            exec(compile(code, named(page), "exec"), names)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith(("ammup", "my_package")):
                raise
            pytest.skip(f"{error.name}, which this page uses, is not installed")


TOML = [(page, block.text) for page in PAGES for block in blocks(page) if block.language == "toml"]


@pytest.mark.parametrize(("page", "text"), TOML, ids=[named(page) for page, _ in TOML])
def test_the_experiment_files_are_valid(page: Path, text: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    profiles = list(tomllib.loads(text).get("profiles", {}))
    for profile in (None, *profiles):
        assert read_experiments(path, profile=profile)
    done = run(
        "sweep", path, "--store", tmp_path / "runs.db", "--dry-run", *(["--profile", profiles[0]] if profiles else [])
    )
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "page", [ROOT / n for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")], ids=named
)
def test_the_links_outside_of_the_site_lead_to_files(page: Path) -> None:
    """The build of the site checks the links of its own pages."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_links_to_files_outside_of_docs_become_links_to_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx", reason="the documentation is built with the extra docs")
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    from repository_links import hosted

    page = ROOT / "docs" / "explanation" / "ledger.md"
    kept = "[a page](statistics.md), [another](../edge.md), ![figure](../../baselines/figures/story.png), [web](https://x.org)"
    assert hosted(kept, page, ROOT) == (kept, [])
    text, missing = hosted("[all](../../baselines) [one](../../README.md#limits) [none](../../gone.py)", page, ROOT)
    base = "https://github.com/ammup/ammup"
    assert text.split() == [
        f"[all]({base}/tree/main/baselines)",
        f"[one]({base}/blob/main/README.md#limits)",
        f"[none]({base}/blob/main/gone.py)",
    ]
    assert missing == ["../../gone.py"]


def test_every_public_name_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"\.\. auto(?:function|class|exception):: (\w+)", reference)
    assert sorted(listed) == sorted(set(ammup.__all__) - {"__version__"})


def test_every_environment_variable_of_ammup_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    used = {name for path in (ROOT / "ammup").rglob("*.py") for name in re.findall(r"AMMUP_[A-Z]+", path.read_text())}
    assert used <= set(re.findall(r"AMMUP_[A-Z]+", reference))
    assert used
