"""Compiled models run uncompiled."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ammup.models.eager import run_eagerly


def test_a_compiled_model_runs_its_own_code() -> None:
    ran = []

    class Notes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            ran.append(torch.compiler.is_compiling())
            return x + 1

    compiled = torch.compile(Notes(), backend="eager")
    with run_eagerly():
        assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))
        assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 2.0))
    assert ran == [False, False]


@pytest.mark.slow
def test_the_compiler_is_not_imported_for_it() -> None:
    program = (
        "import sys, torch, ammup.models.eager as e\n"
        "with e.run_eagerly():\n    pass\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
