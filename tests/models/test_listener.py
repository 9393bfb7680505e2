"""Calls of a model in the order in which they happen, and the names of their outputs."""

from typing import Any

import pytest
import torch
from torch import nn

from ammup import InputError
from ammup.models.listener import CallListener, check_observable


class _Log(CallListener):
    """Writes down what happens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.calls: list[str] = []

    def entered(self, path: str) -> None:
        super().entered(path)
        self.calls.append(f"enter {path}")

    def function(self, name: str, function: str, arguments: list[torch.Tensor], output: Any) -> None:
        self.calls.append(f"{name} of {len(arguments)}")

    def module(self, name: str, module: nn.Module, arguments: list[torch.Tensor], output: Any) -> None:
        self.calls.append(f"return {name}")


def test_functions_and_modules_are_reported_in_their_order_with_their_names() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    log, x = _Log(model), torch.ones(2, 3)
    with log.listening():
        model(x)
    assert log.calls == [
        *("enter ", "enter 0", "0:linear of 3", "return 0", "enter 1", "1:relu of 1", "return 1", "return "),
    ]
    model(torch.ones(2, 3))  # outside of the context nothing is reported
    assert len(log.calls) == 8


def test_torchscript_is_rejected() -> None:
    script = torch.jit.ScriptModule()
    with pytest.raises(InputError, match="module '0' is a TorchScript module"):
        check_observable(nn.Sequential(script))
