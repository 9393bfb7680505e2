"""Devices by name."""

import pytest
import torch

from ammup import InputError
from ammup.models.device import default_device, usable_device


def test_cuda_is_the_default_where_there_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, name in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert default_device() == name


@pytest.mark.parametrize("name", ["cpu", "meta", torch.device("cpu")])
def test_a_device_that_works_is_returned(name: torch.device | str) -> None:
    assert usable_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "cpu:x"])
def test_a_device_that_does_not_work_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}' cannot be used: ") as caught:
        usable_device(name)
    assert "\n" not in str(caught.value)
