"""`python -m ammup` as a user types it."""

import subprocess
import sys
from pathlib import Path


def test_a_user_s_factory_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "mynets.py").write_text(
        "import torch.nn as nn\n"
        "def make(depth, hidden=8):\n"
        "    layers = [m for _ in range(depth - 1) for m in (nn.Linear(hidden, hidden), nn.ReLU())]\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, hidden), nn.ReLU(), *layers, nn.Linear(hidden, 10))\n"
    )
    quick = ["--depths", "2,4", "--seeds", "3", "--batch-size", "4"]
    command = [sys.executable, "-m", "ammup", "exponent", "mynets:make", *quick, "--set", "hidden=12"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "mynets:make on synthetic" in result.stdout
    assert result.stderr == "ammup exponent: loading PyTorch, mynets:make and the data synthetic\n"
