"""The input files of the commands in test_commands.py: invalid ones, and some valid ones."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ammup.cli import cli

TOML = """name = "t"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 128, validation = 32}
grid = {depths = [2, 3], lrs = [0.1, 1.0]}
training = {batch_size = 64}
strategy = "loop"
"""
DEPTHS, LRS = "depths = [2, 3]", "lrs = [0.1, 1.0]"
# name of an experiment file -> (replaced text, its replacement); if the first is empty, the second is appended
EXPERIMENTS = {
    "syntax": (TOML, "name="),
    "noname": ('name = "t"\n', ""),
    "emptyname": ('"t"', '""'),
    "nomodel": ("model =", "modell ="),
    "extra": ("", "foo = 1\n"),
    "depth0": (DEPTHS, "depths = [0, 3]"),
    "depthdup": (DEPTHS, "depths = [2, 2]"),
    "depthempty": (DEPTHS, "depths = []"),
    "depthstr": (DEPTHS, 'depths = ["a"]'),
    "depthfloat": (DEPTHS, "depths = [2.5]"),
    "lrneg": (LRS, "lrs = [-1]"),
    "lrdup": (LRS, "lrs = [1.0, 1.0]"),
    "lrempty": (LRS, "lrs = []"),
    "lrnan": (LRS, "lrs = [nan]"),
    "lrinf": (LRS, "lrs = [inf]"),
    "lrspace": (LRS, "lrs = {low = 1, high = 0.1}"),
    "lrpoints": (LRS, "lrs = {points = 0}"),
    "seeds0": (LRS, f"{LRS}, seeds = 0"),
    "seedsneg": (LRS, f"{LRS}, seeds = -1"),
    "seedsdup": (LRS, f"{LRS}, seeds = [1, 1]"),
    "factory": ('"cnn"', '"cnnn"'),
    "factmod": ('"cnn"', '"nope.mod:f"'),
    "factattr": ('"cnn"', '"os:nope"'),
    "factnotcall": ('"cnn"', '"os:sep"'),
    "factwrong": ('"cnn"', '"os:getcwd"'),
    "args": ("width", "widht"),
    "argval": ("width = 4", "width = 0"),
    "source": ('"synthetic"', '"/nope"'),
    "size": ("image_size = 8", "image_size = 0"),
    "trainbig": ("train = 128", "train = 10000000"),
    "train0": ("train = 128", "train = 0"),
    "val0": ("validation = 32", "validation = 0"),
    "bs": ("batch_size = 64", "batch_size = 0"),
    "dtype": ("batch_size = 64", 'dtype = "half"'),
    "mom": ("batch_size = 64", "momentum = -1"),
    "strategy": ('"loop"', '"loops"'),
    "search": ("", 'search = "fast"\n'),
    "seg": ("", "segments = [{anchors = [2], predict = [3]}]\n"),
    "segdup": ("", "segments = [{anchors = [2, 2], predict = [3]}]\n"),
    "short": ("", "short_run = {lr = 0.1, steps = []}\n"),
    "shortneg": ("", "short_run = {lr = -1, steps = [0]}\n"),
    "shortlate": ("", "short_run = {lr = 0.1, steps = [1000]}\n"),
    "variants": ("", "variants = 3\n"),
    "variantempty": ("", "[variants.a]\nfoo = 1\n"),
    "profiles": ("", "[profiles]\nsmall = 1\n"),
    "pslope": ("", 'paper_slope = "x"\n'),
    "ok": ("", ""),
}
RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "nofmt": lambda record: record.pop("format"),
    "noruns": lambda record: record.pop("runs"),
    "short": lambda record: record["runs"].update(lr=[1.0]),
    "strlr": lambda record: record["runs"].update(lr=["x"] * 4),
    "badexp": lambda record: record["experiment"].update(grid={}),
    "neg": lambda record: record["runs"].update(lr=[-1.0] * 4),
    "laws": lambda record: record.update(laws=[1]),
    "emptyruns": lambda record: record.update(runs={name: [] for name in record["runs"]}),
    "divstr": lambda record: record["runs"].update(diverged=["no"] * 4),
    "prov": lambda record: record.update(provenance=3),
    "deep": lambda record: record.update(measurements={}),
    "lawneg": lambda record: record.update(laws={"finite-depth": {"2": -1, "3": "x"}}),
}
FACTORIES = """import sys
import torch
from torch import nn
import ammup

class Raising(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Linear(1, 1)
    def forward(self, x):
        raise ValueError("inside")

def raises(depth): raise RuntimeError("boom")
def none(depth): return None
def ignores(depth, seed=0): return ammup.cnn(2, width=4, seed=seed)
def infwd(depth): return Raising()
def twoargs(a, b): return None
def exits(depth): sys.exit(3)
class Returning(nn.Module):
    def __init__(self, depth, result):
        super().__init__()
        self.net, self.result = ammup.cnn(depth, width=4), result
    def forward(self, x):
        return self.result(self.net(x))

def dict_output(depth): return Returning(depth, lambda out: {"logits": out})
def tuple_output(depth): return Returning(depth, lambda out: (out, out))
def flat_output(depth): return Returning(depth, lambda out: out[:, 0])

class Branching(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.layers, self.out = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(depth)), nn.Linear(192, 10)
    def forward(self, x):
        for layer in self.layers:
            x = layer(x) if x.sum() < 9e9 else x
        return self.out(x.flatten(1))

def branching(depth): return Branching(depth)

class Mapped(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.net = ammup.cnn(depth, width=4)
    def forward(self, x):
        return torch.func.vmap(lambda one: self.net(one[None])[0])(x)

def mapped(depth): return Mapped(depth)

def nanw(depth, seed=0):
    net = ammup.cnn(depth, width=4, seed=seed)
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(float("nan"))
    return net
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all input files."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "fac.py").write_text(FACTORIES)
    for name, (old, new) in EXPERIMENTS.items():
        (folder / f"{name}.toml").write_text(TOML.replace(old, new) if old else TOML + new)
    (folder / "bytes.toml").write_bytes(bytes(range(200, 256)) * 4)
    (folder / "dir.toml").mkdir()
    _stores(folder)
    _records(folder)
    _images(folder)
    _archives(folder)
    return folder


def _run(*arguments: object) -> None:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


def _stores(folder: Path) -> None:
    (folder / "text.db").write_text("hello" * 100)
    (folder / "empty.db").write_text("")
    (folder / "dir.db").mkdir()
    other = sqlite3.connect(folder / "other.db")
    other.execute("CREATE TABLE a (b)")
    other.commit()
    other.close()
    _run("sweep", folder / "ok.toml", "--store", folder / "ok.db", "--workers", 1)
    whole = (folder / "ok.db").read_bytes()
    (folder / "trunc.db").write_bytes(whole[: len(whole) // 2])


def _records(folder: Path) -> None:
    _run("fit", folder / "ok.db", "--export", folder / "ok.json")
    text = (folder / "ok.json").read_text()
    for name, spoil in RECORDS.items():
        record = json.loads(text)
        spoil(record)
        (folder / f"{name}.json").write_text(json.dumps(record))
    (folder / "trunc.json").write_text(text[:300])
    (folder / "list.json").write_text("[]")
    (folder / "nul.json").write_text("null")
    (folder / "bin.json").write_bytes(bytes(range(256)))
    (folder / "nest.json").write_text("[" * 100_000)


def _image(path: Path, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size)).save(path)


def _images(folder: Path) -> None:
    for split in ("train", "test"):
        for kind in "ab":
            for i in range(3):
                _image(folder / "good" / split / kind / f"{i}.png")
    (folder / "emptyfolder").mkdir()
    for split in ("train", "test"):
        (folder / "emptyclass" / split / "a").mkdir(parents=True)
    for name in ("corrupt", "textimg", "sizes", "otherclass"):
        shutil.copytree(folder / "good", folder / name)
    broken = folder / "corrupt" / "train" / "a" / "1.png"
    broken.write_bytes(broken.read_bytes()[:40])
    (folder / "textimg" / "train" / "a" / "x.png").write_text("no image")
    _image(folder / "sizes" / "train" / "a" / "9.png", 16)
    _image(folder / "otherclass" / "test" / "c" / "0.png")


def _archives(folder: Path) -> None:
    images, labels = np.zeros((8, 8, 8, 3), np.uint8), np.arange(8) % 2

    def save(name: str, **changed: np.ndarray) -> None:
        arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
        np.savez(folder / f"{name}.npz", **(arrays | changed))

    save("good")
    whole = (folder / "good.npz").read_bytes()
    (folder / "trunc.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.npz").write_text("x")
    np.savez(folder / "keys.npz", a=images)
    np.savez(folder / "pickle.npz", train_images=np.array([{"a": 1}], dtype=object), train_labels=labels)
    save("shape", train_images=np.zeros((8, 8)))
    save("dtype", train_images=np.full(images.shape, np.nan))
    save("len", train_labels=labels[:7])
    save("flabel", train_labels=labels + 0.5)
    save("neglabel", train_labels=labels - 1)
    save("emptyarr", train_images=images[:0], train_labels=labels[:0])
