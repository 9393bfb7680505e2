"""The environment of a stored figure."""

import json
import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from ammup.gate.environment import ENVIRONMENT, environment, write_json


def test_the_environment_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment()
    assert (found.python, found.torch, found.numpy) == (platform.python_version(), torch.__version__, np.__version__)
    assert (found.dtype, found.threads) == ("float32", torch.get_num_threads())
    assert found.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


@pytest.mark.parametrize("name", ["python", "torch", "numpy", "device", "dtype", "machine"])
def test_a_figure_depends_on_torch_numpy_device_and_dtype(name: str) -> None:
    changed = environment().model_copy(update={name: "another"})
    assert (changed.relevant != environment().relevant) is (name in ENVIRONMENT)


def test_json_is_written_with_one_value_a_line_in_utf_8(tmp_path: Path) -> None:
    write_json({"b": "S̄", "a": [0.1, None]}, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes().decode() == '{\n "b": "S̄",\n "a": [\n  0.1,\n  null\n ]\n}\n'


def test_numbers_that_json_does_not_have_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json({"a": float("nan")}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []
