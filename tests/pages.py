"""The fenced blocks of pages, and the folder in which a reader runs them."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALL = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ALL = [page for page in ALL if "_build" not in page.parts]
# Tutorials have a kernel; the build of the site executes their cells.
TUTORIALS = [page for page in ALL if "kernelspec:" in page.read_text(encoding="utf-8")]
INTEGRATIONS = [page for page in ALL if "integrations" in page.parts]  # they need the packages of extras
PAGES = [page for page in ALL if page not in TUTORIALS and page not in INTEGRATIONS]
MODELS = """
from torch import nn

def make_net(depth):
    layers = [m for _ in range(depth) for m in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), *layers, nn.Linear(32, 10))
"""
# It trains with NumPy: `ammup tune` starts it a dozen times, and the import of torch would take most of the time.
TRAIN = """
import argparse, json
import numpy as np
parser = argparse.ArgumentParser()
for name, kind in (("--depth", int), ("--lr", float), ("--seed", int)):
    parser.add_argument(name, type=kind)
options = parser.parse_args()
rng = np.random.default_rng(options.seed)
sizes = [192] + [32] * (options.depth + 1) + [10]
weights = [rng.normal(size=(m, n)) * (2 / m) ** 0.5 for m, n in zip(sizes, sizes[1:])]
inputs, labels = rng.normal(size=(32, 192)), np.eye(10)[np.arange(32) % 10]
for step in range(1, 13):
    units = [inputs]
    for weight in weights[:-1]:
        units.append(np.maximum(units[-1] @ weight, 0))
    logits = units[-1] @ weights[-1]
    logits -= logits.max(1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -(labels * log_p).sum(1).mean()
    slope = (np.exp(log_p) - labels) / len(inputs)
    for weight, unit in zip(weights[::-1], units[::-1]):
        change = options.lr * unit.T @ slope
        slope = (slope @ weight.T) * (unit > 0)
        weight -= change
    print(json.dumps({"step": step, "loss": loss, "score": 1 / (1 + loss)}), flush=True)
"""
SMALL = """
name = "mine"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 256, validation = 128}
grid = {depths = [2, 3], lrs = {low = 0.01, high = 10.0, points = 7}, seeds = 1}
training = {batch_size = 32}
"""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str


def named(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; a fence of colons holds Markdown, not code."""
    found = re.findall(
        r"^(`{3,})([^\n`]*)\n(.*?)^\1$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return [Block(language=language.strip().split(" ")[0], text=text) for _, language, text in found]


def codes(page: Path, *languages: str) -> list[str]:
    """The texts of the blocks of some languages, except doctests, which pytest collects."""
    return [block.text for block in blocks(page) if block.language in languages and ">>>" not in block.text]


def commands(page: Path) -> list[str]:
    """The lines of the ``sh`` blocks of a page without their comments, one command for each ``&&``."""
    lines = [line for text in codes(page, "sh", "bash") for line in text.replace("\\\n", " ").splitlines()]
    return [part.strip() for line in map(without_comment, lines) for part in line.split("&&") if part.strip()]


def shown_commands(page: Path) -> list[list[str]]:
    """The words of the commands in the ``text`` blocks of a page, after ``$``."""
    lines = [line for text in codes(page, "text") for line in text.replace("\\\n", " ").splitlines()]
    return [shlex.split(without_comment(line[2:])) for line in lines if line.startswith("$ ")]


def without_comment(line: str) -> str:
    """A line of a shell without what follows ``#``."""
    return re.split(r"\s+# ", line)[0]


def prepare_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter the folder of a reader: a package with models, an experiment, a training script, baselines."""
    (folder / "my_package").mkdir()
    (folder / "my_package" / "models.py").write_text(MODELS)
    (folder / "EXPERIMENT.toml").write_text(SMALL)
    (folder / "train.py").write_text(TRAIN)
    (folder / "tests").mkdir()
    (folder / "baselines").symlink_to(ROOT / "baselines")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{folder}")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("CI", raising=False)  # pages record baselines
    return folder


def run_program(code: str, *options: str) -> None:
    """Run code in a process of its own, with ``options`` such as ``-m pytest`` before the name of its file."""
    path = Path("test_page.py")
    path.write_text(code, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, *options, str(path)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
