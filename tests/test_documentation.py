"""Every code block of README.md and of the pages in docs/ runs.

* Blocks with ``>>>`` are doctests, which pytest collects.
* Cells of tutorials are executed when the site is built.
* test_integration_pages.py runs the pages that need other packages.
* Here: commands in ``sh`` blocks, other ``python`` blocks, ``toml`` files, and links.

Blocks that show commands with their output, or that need a cluster, another machine or hours, are marked ``text``.
Their commands are parsed: the verb, options and values are valid, and the scripts exist and have the options.
"""

import os
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from command_line import run
from pages import (
    ALL,
    PAGES,
    ROOT,
    blocks,
    codes,
    commands,
    named,
    prepare_folder,
    run_program,
    shown_commands,
)

import ammup
from ammup.cli import cli
from ammup.experiments.files import read_experiments

LANGUAGES = {
    "",
    "sh",
    "bash",
    "python",
    "toml",
    "text",
    "yaml",
    "json",
    "{code-cell}",
    "{toctree}",
    "{eval-rst}",
    "{include}",
}
# Programs that install, download or start everything; the steps of .ci/run run them.
OTHERS = {"pip", "git", "cd", "source", "pre-commit", "pytest", "ruff", "mypy", "lint-imports", "sphinx-build",
          "python", ".ci/run"}  # fmt: skip
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepare_folder(tmp_path, monkeypatch)


@pytest.mark.parametrize("page", ALL, ids=named)
def test_every_block_has_a_language_that_is_run_or_shown(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("page", ALL, ids=named)
def test_no_page_has_commands_outside_of_blocks(page: Path) -> None:
    """Indented code is found by no other test."""
    text = re.sub(r"^(`{3,}|:{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"^ {4,}(?:\$ |python |ammup |pip |import |>>> ).*", text, flags=re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in ALL if shown_commands(page)], ids=named)
def test_the_commands_that_are_shown_with_their_output_are_valid(page: Path, folder: Path) -> None:
    for name in ("runs.db", "RUNS.db", "record.json"):
        (folder / name).touch()
    (folder / "cifar10").mkdir()
    for words in shown_commands(page):
        words = [word for word in words if not re.fullmatch(r"[A-Z_]+=.*", word)]  # environment variables
        program, *arguments = words
        if program == "ammup":
            check_parsed(arguments)
        elif program == "python":
            script = ROOT / arguments[0]
            options = [word for word in arguments if word.startswith("--")]
            sources = script.read_text() + "".join(path.read_text() for path in script.parent.glob("*_parts/*.py"))
            assert all(f'"{option}"' in sources for option in options), words
        else:
            assert program in {*OTHERS, "dask", "asv"}, words


def check_parsed(arguments: list[str]) -> None:
    """Parse the arguments of a command without running it; an error is raised."""
    command, name = cli, "ammup"
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    try:
        command.make_context(name, arguments)
    except click.exceptions.Exit as done:  # an option such as --list, which needs nothing else
        if done.exit_code:
            raise


def test_a_command_with_an_unknown_option_is_found() -> None:
    check_parsed(["sweep", "--list"])
    for wrong in (["sweep", "--lists"], ["baselines", "update", "--why", "x"], ["fit", "runs.db", "--optimum", "best"]):
        with pytest.raises(click.UsageError):
            check_parsed(wrong)


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
    "docs/edge.md": """
import ammup
from my_package.models import make_net
data = ammup.load_data("synthetic", image_size=8, train=1024, validation=128)
""",
    "docs/transfer.md": """
import ammup, torch
from my_package.models import make_net
images, labels = ammup.load_data("synthetic", image_size=8).batch(16)
net, lr = make_net(2), 0.1
law = ammup.depth_exponent(make_net, [2, 4, 8], inputs=images, targets=labels, loss="cross_entropy", seeds=2)
data = ammup.load_data("synthetic", image_size=8, train=1024, validation=128)
""",
}


# What is made smaller in the blocks of a page before they run here.
SMALLER = {
    "docs/edge.md": [("steps=100, seeds=3", "steps=10, seeds=2")],
    "docs/transfer.md": [
        ("seeds=4, measure", "seeds=2, measure"),
        ("steps=30, seeds=2", "steps=10, seeds=2"),
        ('state="late.json"', 'steps=20, seeds=1, state="late.json"'),
    ],
}


def smaller(page: Path) -> list[str]:
    """The ``python`` blocks of a page with fewer steps and seeds; every replacement is in the page once."""
    text = "\0".join(codes(page, "python"))
    for old, new in SMALLER.get(named(page), ()):
        assert text.count(old) == 1, f"{named(page)} does not contain {old!r} once"
        text = text.replace(old, new)
    return text.split("\0") if text else []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_python_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    names: dict[str, object] = {}
    texts = smaller(page)
    if texts:
        exec(BEFORE.get(named(page), ""), names)
    for code in texts:
        try:
            if "__main__" in code:
                run_program(code)
            elif "def test_" in code:
                run_program(with_models(code), *PYTEST)
            else:
                exec(compile(code, named(page), "exec"), names)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith(("ammup", "my_package")):
                raise
            pytest.skip(f"{error.name}, which this page uses, is not installed")


PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".")


def with_models(code: str) -> str:
    """A test of a page with its model, and with few draws and a wide margin, because the model is narrow."""
    assert "margin=0.3" in code
    before = "import ammup\nfrom my_package.models import make_net\n"
    return before + code.replace("margin=0.3", "margin=3, seeds=4")


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


def test_the_page_on_the_architecture_lists_every_room() -> None:
    page = (ROOT / "docs" / "project" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", page, flags=re.MULTILINE)
    listed = sorted(name for row in rows for name in re.findall(r"`(\w+)/?`", row))
    packages = {path.parent.name for path in (ROOT / "ammup").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "ammup").glob("*.py")} - {"__init__", "__main__"}
    assert listed == sorted(packages | modules)
