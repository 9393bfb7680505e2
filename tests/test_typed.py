"""The installed package carries its types: a user's script is checked against them."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")
pytestmark = pytest.mark.slow

SCRIPT = """
import torch
from torch import nn

import ammup


def make_net(depth: int, seed: int = 0) -> nn.Module:
    return ammup.cnn(depth, width=8, seed=seed)


images, labels = ammup.load_data("synthetic", image_size=8).batch(4)
moments = ammup.measure_updates(make_net(2), images, labels, loss="cross_entropy")
reveal_type(moments.lr_star)
law = ammup.depth_exponent(make_net, [2, 4], inputs=images, targets=labels, loss="cross_entropy")
reveal_type(law.power_law.slope)
reveal_type(ammup.transfer_lr(0.1, 2, 4, rule="measured", measured=law))
optimizer = torch.optim.SGD(ammup.param_groups(make_net(2), 0.1))
ammup.measure_updates(make_net(2), images, labels, los="cross_entropy")
wrong: str = moments.lr_star
"""


def test_a_script_is_checked_against_the_installed_package(tmp_path: Path) -> None:
    assert files("ammup").joinpath("py.typed").is_file()
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    lines = [line for line in done.stdout.splitlines() if "error" in line or "Revealed" in line]
    assert [line.partition(": note: ")[2] for line in lines[:3]] == ['Revealed type is "float"'] * 3
    first, second, _summary = lines[3:]
    assert 'Unexpected keyword argument "los" for "measure_updates"' in first
    assert 'expression has type "float", variable has type "str"' in second
