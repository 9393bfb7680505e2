"""Derivatives that are not those of the forward, and numbers that are not real."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Apply, dense, drawn, images, labels, vectors

custom = Group("custom derivatives")
complexes = Group("complex numbers")


class OldStyle(torch.autograd.Function):
    """forward with ctx, as before setup_context."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """x³."""
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """3 x²."""
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


class NewStyle(torch.autograd.Function):
    """forward without ctx, and setup_context."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Sin x."""
        return x.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        """Keep x."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Cos x."""
        return ctx.saved_tensors[0].cos() * grad


class WithForwardRule(OldStyle):
    """A function that has a jvp rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """x³."""
        ctx.save_for_forward(x)
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        """3 x² dx."""
        return 3 * ctx.saved_tensors[0] ** 2 * tangent


class Cube(nn.Module):
    """Calls the function that has a jvp rule."""

    def forward(self, x: Tensor) -> Tensor:
        """x³."""
        return WithForwardRule.apply(x)


class Reversal(torch.autograd.Function):
    """Gradient reversal of domain-adversarial training."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The identity."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The negative."""
        return -grad


class SignEstimator(torch.autograd.Function):
    """Binary activation with a clipped straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Its sign."""
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Pass where |x| < 1."""
        return grad * (ctx.saved_tensors[0].abs() < 1)


class ClippedGradient(torch.autograd.Function):
    """The identity, whose gradient is clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The identity."""
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Clipped to ±0.01."""
        return grad.clamp(-0.01, 0.01)


class LinearFunction(torch.autograd.Function):
    """A linear layer written by hand, as in the tutorial."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """The product."""
        ctx.save_for_backward(x, weight)
        return x.mm(weight.t())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Both gradients."""
        x, weight = ctx.saved_tensors
        return grad.mm(weight), grad.t().mm(x)


class HandWritten(nn.Module):
    """A layer by :class:`LinearFunction`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8) / 3)

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return LinearFunction.apply(x, self.weight)


FUNCTIONS: dict[str, Any] = {
    "old_style_function": OldStyle.apply,
    "new_style_function": NewStyle.apply,
    "function_with_forward_rule": WithForwardRule.apply,
    "gradient_reversal": Reversal.apply,
    "sign_estimator_function": SignEstimator.apply,
    "clipped_gradient": ClippedGradient.apply,
    "straight_through_round": lambda x: x + ((4 * x).round() / 4 - x).detach(),
    "straight_through_sign": lambda x: x.tanh() + (x.sign() - x.tanh()).detach(),
    "straight_through_threshold": lambda x: x + ((x > 0).to(x) - x).detach(),
    "gradient_scaling": lambda x: 0.1 * x + (0.9 * x).detach(),
    "vector_quantization": lambda x: x + (x.sign() * 0.5 - x).detach() * 0.5,
    "straight_through_clamp": lambda x: x + (x.clamp(-0.5, 0.5) - x).detach(),
    "swish_function_with_item": lambda x: x * torch.sigmoid(x * max(1.0, x.abs().max().item())),
}
for _name, _function in FUNCTIONS.items():
    custom.add(_name, lambda function=_function: vectors(dense(function)))
custom.add("hand_written_linear", lambda: vectors(dense(nn.ReLU(), HandWritten())))


class Quantized(nn.Linear):
    """Quantization-aware training with fake-quantized weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Straight-through rounding of the weight to 1/8."""
        rounded = (self.weight * 8).round() / 8
        return F.linear(x, self.weight + (rounded - self.weight).detach(), self.bias)


class FakeQuantized(nn.Module):
    """torch's own fake quantization."""

    def forward(self, x: Tensor) -> Tensor:
        """Per tensor, with 8 bits."""
        return torch.fake_quantize_per_tensor_affine(x.float(), 0.05, 0, -128, 127).to(x)


class GradientPenalty(nn.Module):
    """An energy net whose output is the gradient of a scalar with respect to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        """The energy, plus the norm of its derivative."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            energy = self.energy(x)
            (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        return energy + slope.square().sum(1, keepdim=True)


class FunctionalGradient(GradientPenalty):
    """The same by torch.func, per sample."""

    def forward(self, x: Tensor) -> Tensor:
        """Energy and its derivative under vmap."""
        slope = torch.func.vmap(torch.func.grad(lambda row: self.energy(row).sum()))(x)
        return self.energy(x) + slope.square().sum(1, keepdim=True)


class PerSample(nn.Module):
    """Calls its layer under vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Row by row."""
        return self.out(torch.func.vmap(lambda row: torch.tanh(self.layer(row)))(x))


class TangentFeature(nn.Module):
    """Adds a derivative along a fixed direction that its own forward computes in forward mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The value and its derivative."""
        x = torch.tanh(self.first(x))
        _, slope = torch.func.jvp(lambda z: torch.tanh(self.layer(z)), (x,), (torch.ones_like(x),))
        return self.out(x + slope)


custom.add("tangent_in_forward", lambda: vectors(TangentFeature()))
custom.add("quantization_aware_weights", lambda: vectors(dense(nn.ReLU(), Quantized(8, 8))))
custom.add("fake_quantize_of_torch", lambda: vectors(dense(FakeQuantized(), nn.ReLU())))
custom.add("gradient_in_forward", lambda: vectors(GradientPenalty()))
custom.add("functional_gradient_in_forward", lambda: vectors(FunctionalGradient()))
custom.add("vmap_in_forward", lambda: vectors(PerSample()))


class ComplexLinear(nn.Module):
    """A linear map with a complex weight between real layers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, dtype=torch.complex64) / 3)

    def forward(self, x: Tensor) -> Tensor:
        """The modulus of the product."""
        return (x.to(self.weight.dtype) @ self.weight).abs()


class SpectralConvolution(nn.Module):
    """The layer of Fourier neural operators."""

    def __init__(self, channels: int = 8, modes: int = 3) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(channels, channels, modes, modes, dtype=torch.complex64) / channels)

    def forward(self, x: Tensor) -> Tensor:
        """Low modes are mixed, the others set to zero."""
        spectrum = torch.fft.rfft2(x)
        m = self.modes
        mixed = torch.zeros_like(spectrum)
        mixed[..., :m, :m] = torch.einsum("bihw,iohw->bohw", spectrum[..., :m, :m], self.weight)
        return torch.fft.irfft2(mixed, s=x.shape[-2:])


class RealPair(nn.Module):
    """Real parameters that are viewed as complex."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        """A filter in the frequency domain."""
        spectrum = torch.fft.fft(x, dim=1) * torch.view_as_complex(self.weight)
        return torch.fft.ifft(spectrum, dim=1).real * math.sqrt(2)


class ComplexNet(nn.Module):
    """Complex layers throughout, with real outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8, dtype=torch.complex64)
        self.b = nn.Linear(8, 4, dtype=torch.complex64)
        self.c = nn.Linear(8, 8, dtype=torch.complex64)

    def forward(self, x: Tensor) -> Tensor:
        """Modulus of the last layer."""
        z = self.a(x.to(self.a.weight.dtype))
        return self.b(self.c(torch.tanh(z)) + z).abs()


def _operator() -> Problem:
    from zoo_parts.constructs.common import convolutional

    return images(convolutional(SpectralConvolution(), nn.GELU()))


complexes.add("complex_weight", lambda: vectors(dense(ComplexLinear())))
complexes.add("fourier_neural_operator", _operator)
complexes.add("parameters_viewed_as_complex", lambda: vectors(dense(RealPair(), nn.ReLU())))
complexes.add("complex_net", lambda: vectors(ComplexNet()))
complexes.add("fourier_mixing", lambda: vectors(dense(Apply(lambda x: torch.fft.fft(x, dim=1).real))))


@complexes.case
def field_with_complex_residual() -> Problem:
    model = ComplexNet()
    model.c.requires_grad_(False)
    return Problem(model=model, inputs=drawn(8, 6), targets=labels())
