"""The environment of a measurement, and the JSON files that store measured values."""

import json
import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from ammup.gate.environment import ENVIRONMENT, environment, write_json


def test_the_environment_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    current = environment()
    assert (current.python, current.torch, current.numpy) == (
        platform.python_version(),
        torch.__version__,
        np.__version__,
    )
    assert (current.dtype, current.threads) == ("float32", torch.get_num_threads())
    assert current.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert json.loads(json.dumps(current.to_dict())) == current.to_dict()


@pytest.mark.parametrize("name", ["python", "torch", "numpy", "device", "dtype", "machine"])
def test_torch_numpy_device_and_dtype_are_the_relevant_fields(name: str) -> None:
    changed = environment().model_copy(update={name: "another"})
    assert (changed.relevant != environment().relevant) is (name in ENVIRONMENT)


def test_json_is_written_in_utf_8_with_one_value_per_line(tmp_path: Path) -> None:
    write_json({"b": "S̄", "a": [0.1, None]}, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes().decode() == '{\n "b": "S̄",\n "a": [\n  0.1,\n  null\n ]\n}\n'


def test_nan_raises_and_writes_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json({"a": float("nan")}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []
