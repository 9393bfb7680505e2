"""A model in float64 for a while."""

import copy

import pytest
import torch
from torch import nn

from ammup.errors import InputError
from ammup.models.precision import double_precision, in_double_precision


class Shares(nn.Module):
    """A flat weight, views of it, a tied weight and a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.arange(6.0))
        self.register_buffer("view", self.flat.data[2:4])
        self.one = nn.Linear(2, 2)
        self.two = nn.Linear(2, 2)
        self.two.weight = self.one.weight
        self.constant = torch.full((2,), 3.0)
        self.listed = [self.one.weight]


def test_every_tensor_is_exchanged_and_put_back() -> None:
    net = Shares().half()
    net.count = torch.tensor(3)
    originals = {
        name: (tensor, tensor.data_ptr(), tensor.clone()) for name, tensor in net.state_dict(keep_vars=True).items()
    }
    net.flat.grad = torch.ones(6, dtype=torch.float16)
    gradient = net.flat.grad
    with double_precision(net):
        assert all(tensor.dtype == torch.float64 for tensor in net.state_dict().values())
        assert net.constant.dtype == torch.float64
        assert net.count.dtype == torch.int64
        assert net.two.weight is net.one.weight is net.listed[0]
        assert net.flat.grad is None
        assert torch.equal(net.flat.detach(), torch.arange(6.0, dtype=torch.float64))
    for name, (tensor, pointer, values) in originals.items():
        found = net.state_dict(keep_vars=True)[name]
        assert found is tensor
        assert found.data_ptr() == pointer
        assert torch.equal(found, values)
    assert net.flat.grad is gradient


def test_shared_memory_stays_shared() -> None:
    net = Shares()
    with double_precision(net):
        net.flat.data[2] = 7.0
        assert net.view[0] == 7.0


def test_layouts_stay() -> None:
    net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    strides = net.weight.stride()
    with double_precision(net):
        assert net.weight.stride() == strides


def test_complex_weights_become_complex128() -> None:
    net = nn.Linear(2, 2, dtype=torch.complex64)
    with double_precision(net):
        assert net.weight.dtype == torch.complex128
    assert net.weight.dtype == torch.complex64


def test_an_exception_puts_everything_back() -> None:
    net = Shares()
    before = copy.deepcopy(net.state_dict())

    def fail() -> None:
        with double_precision(net):
            net.flat.data.add_(1)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_model_that_does_not_run_in_float64_is_measured_in_its_own_precision() -> None:
    net = torch.nn.Linear(2, 2)
    weight = net.weight.detach().clone()
    attempts = []

    def measure(problem: str) -> torch.dtype:
        attempts.append((problem, net.weight.dtype, torch.equal(net.weight.float(), weight)))
        net.weight.data.zero_()
        if net.weight.dtype == torch.float64:
            raise InputError("no kernel")
        return net.weight.dtype

    assert in_double_precision(net, measure) == torch.float32
    assert attempts == [("", torch.float64, True), ("no kernel", torch.float32, True)]
    assert torch.equal(net.weight, weight)
