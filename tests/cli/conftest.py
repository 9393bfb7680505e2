"""Fixtures of the verbs: a module with factories of a user, and the store of a finished sweep."""

from pathlib import Path

import pytest
from command_line import run

NETS = """
from pathlib import Path
from torch import nn
import ammup

NOT_CALLABLE = 3

def make_net(depth, width=16):
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net

def steps(depth):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.out = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth)), nn.Linear(4, 2)
        def forward(self, x):
            for layer in self.layers:
                x = layer(x) if x.sum() < 9e9 else x
            return self.out(x)
    return Steps()

def default_mlp(depth, width=32):
    layers, before = [nn.Flatten()], 192
    for _ in range(depth):
        layers += [nn.Linear(before, width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, 10))

def encoder(depth):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, dropout=0.0)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

def fails(depth, width):
    raise ZeroDivisionError("division by zero")

def ignores_depth(depth, width):
    return ammup.mlp(3, width=4, in_features=192)

def one_size(depth):
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

def stopped_at_depth_2(depth, width=4, seed=0):
    if depth == 2 and Path("stop").exists():
        raise KeyboardInterrupt
    return ammup.cnn(depth, width=width, seed=seed)
"""
TOML = """
name = "small"
strategy = "loop"
model = {factory = "cnn", arguments = {width = 8}}
data = {source = "synthetic", image_size = 8, train = 512, validation = 128}
grid = {depths = [2, 3], lrs = {low = 0.01, high = 10.0, points = 13}, seeds = 2}
training = {batch_size = 32}
segments = [{anchors = [2, 3], predict = [4]}]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable current folder with the factories above in their_nets.py."""
    (tmp_path / "their_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def toml() -> str:
    """The experiment file of the sweep below."""
    return TOML


@pytest.fixture(scope="session")
def sweep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment file, small.toml, and the store of its finished sweep, runs.db."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "small.toml").write_text(TOML)
    result = run("sweep", folder / "small.toml", "--store", folder / "runs.db", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "52 of 52 cells are done" in result.stdout
    assert f"next: ammup fit {folder / 'runs.db'}" in result.stdout
    return folder
