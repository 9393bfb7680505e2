"""The fused pass compared with F.pad and a separate activation, and the fused forward with that of the model."""

import copy

import pytest
import torch
from naive_training import NETS
from torch import nn
from torch.nn import functional as F

import ammup
from ammup.models.streams import seeded
from ammup.training.fused import ActivatedPad, activation_name, fused_forward, has_hooks

ACTIVATIONS = {None: lambda z: z, "relu": F.relu, "gelu": F.gelu}
FUSED = [name for name in NETS if name.startswith(("cnn", "resnet")) and "hook" not in name]


@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 2, 0, 1), (3, 0, 2, 0), (0, 0, 0, 0), (4, 4, 3, 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_fused_pass_equals_activation_and_circular_padding(
    activation: str | None, pads: tuple[int, int, int, int]
) -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 3, 3, 4, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    fused = ActivatedPad.apply(z, pads, activation)
    expected = F.pad(ACTIVATIONS[activation](z), pads, mode="circular")
    torch.testing.assert_close(fused, expected, rtol=1e-14, atol=1e-15)
    assert fused.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(expected)
    (expected_z,) = torch.autograd.grad(expected, z, gradient)
    (actual_z,) = torch.autograd.grad(fused, z, gradient.clone())  # it is overwritten
    torch.testing.assert_close(actual_z, expected_z, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", FUSED)
def test_the_fused_forward_and_its_gradients_equal_those_of_the_model(name: str) -> None:
    """In training and in evaluation mode, with batch norm statistics and dropout masks."""
    model = NETS[name](3, seed=0).double()
    torch.manual_seed(1)
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    other = copy.deepcopy(model)
    fused = fused_forward(other.to(memory_format=torch.channels_last))
    assert fused is not None
    for mode in (True, False):
        model.train(mode), other.train(mode)
        with seeded("masks"):
            expected = model(images)
        with seeded("masks"):
            actual = fused(images.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
        direction = torch.randn_like(expected)
        gradients = torch.autograd.grad(expected, list(model.parameters()), direction)
        fused_gradients = torch.autograd.grad(actual, list(other.parameters()), direction)
        for fused_gradient, gradient in zip(fused_gradients, gradients, strict=True):
            torch.testing.assert_close(fused_gradient, gradient, rtol=1e-9, atol=1e-11)
    for buffer, value in zip(other.buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(buffer, value)


def test_padding_larger_than_the_input_is_computed_or_rejected_by_the_layer() -> None:
    """The fused forward calls the layer, so it raises the same error or returns the same result."""
    model = ammup.cnn(2, width=4, kernel=3, dilation=5).double()
    fused = fused_forward(copy.deepcopy(model))
    assert fused is not None
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    try:
        expected = model(images)
    except RuntimeError as error:
        with pytest.raises(RuntimeError, match=str(error).splitlines()[0][:20]):
            fused(images)
    else:
        torch.testing.assert_close(fused(images), expected)


@pytest.mark.parametrize("name", ["mlp", "user", "a subclass of CNN", "resnet with a hook"])
def test_other_models_have_no_fused_forward(name: str) -> None:
    assert fused_forward(NETS[name](2, seed=0)) is None


def test_a_dense_residual_net_has_no_fused_forward() -> None:
    assert fused_forward(ammup.resnet(2, width=4, dims=0, in_channels=12)) is None


def test_hooks_of_every_kind_and_a_replaced_forward_are_detected() -> None:
    def registered(method: str) -> nn.Module:
        layer = nn.Linear(2, 2)
        getattr(layer, method)(lambda *arguments: None)
        return layer

    replaced = nn.Linear(2, 2)
    replaced.forward = lambda x: x
    assert not has_hooks(nn.Linear(2, 2))
    assert has_hooks(replaced)
    hooks = ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook")
    assert [has_hooks(registered(f"register_{hook}")) for hook in hooks] == [True] * 4


def test_only_the_supported_activations_have_names() -> None:
    modules = [nn.ReLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.Identity(), None]
    assert [activation_name(module) for module in modules] == ["relu", "gelu", None, None, None]
