"""Normalization layers in training and evaluation, and what people do with them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Residual, convolutional, dense, images, vectors

normalization = Group("normalization")


class SharedNorm(nn.Module):
    """One batch norm under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.first = nn.BatchNorm1d(8)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        """Both layers are normalized by it."""
        z = torch.relu(self.first(self.a(x)))
        return self.out(torch.relu(self.second(self.b(z))))


class RmsNorm(nn.Module):
    """RMS norm that computes in float32, as in Llama."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        """Divided by the root mean square."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.weight


class GlobalResponse(nn.Module):
    """Global response normalization of ConvNeXt V2."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((1, 8, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled by the relative norm of each channel."""
        size = x.norm(dim=(2, 3), keepdim=True)
        return x + self.gain * x * size / (size.mean(1, keepdim=True) + 1e-6)


class Functional(nn.Module):
    """F.batch_norm with buffers of its own, updated in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        """Normalized by the batch."""
        return F.batch_norm(x, self.mean, self.variance, training=self.training)


class Adaptive(nn.Module):
    """Adaptive instance norm: scale and shift from a code."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.code = nn.InstanceNorm2d(8), nn.Linear(8, 16)

    def forward(self, x: Tensor) -> Tensor:
        """The code is the mean over positions."""
        scale, shift = self.code(x.mean((2, 3)))[:, :, None, None].chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


def _frozen() -> Problem:
    model = convolutional(nn.BatchNorm2d(8), nn.ReLU()).train()
    model[1].eval().requires_grad_(False)
    return images(model)


def _two_values() -> Problem:
    model = dense(nn.BatchNorm1d(8), nn.ReLU()).train()
    problem = vectors(model)
    return Problem(model=model, inputs=problem.inputs[:2], targets=problem.targets[:2])


def _one_pixel() -> Problem:
    body = nn.Sequential(nn.Conv2d(3, 8, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU())
    model = nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 4)).train()
    problem = images(model)
    return Problem(model=model, inputs=problem.inputs[:3], targets=problem.targets[:3])


def _warmed_up() -> Problem:
    model = convolutional(nn.BatchNorm2d(8), nn.ReLU()).train()
    problem = images(model)
    with torch.no_grad():
        for _ in range(5):
            model(problem.inputs)
    return Problem(model=model.eval(), inputs=problem.inputs, targets=problem.targets)


IMAGES: dict[str, Any] = {
    "batch_norm": lambda: nn.BatchNorm2d(8),
    "batch_norm_cumulative": lambda: nn.BatchNorm2d(8, momentum=None),
    "batch_norm_without_statistics": lambda: nn.BatchNorm2d(8, track_running_stats=False),
    "batch_norm_without_weights": lambda: nn.BatchNorm2d(8, affine=False),
    "synchronized_batch_norm": lambda: nn.SyncBatchNorm(8),
    "group_norm": lambda: nn.GroupNorm(2, 8),
    "instance_norm": lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    "layer_norm_of_images": lambda: nn.LayerNorm([8, 8, 8]),
    "local_response_norm": lambda: nn.LocalResponseNorm(3, alpha=0.5),
    "global_response_norm": GlobalResponse,
    "adaptive_instance_norm": Adaptive,
    "cross_map_norm": lambda: nn.CrossMapLRN2d(3, alpha=0.5),
}
VECTORS: dict[str, Any] = {
    "batch_norm_of_vectors": lambda: nn.BatchNorm1d(8),
    "layer_norm": lambda: nn.LayerNorm(8),
    "layer_norm_without_weights": lambda: nn.LayerNorm(8, elementwise_affine=False),
    "rms_norm": lambda: nn.RMSNorm(8),
    "rms_norm_in_float32": RmsNorm,
    "functional_batch_norm": Functional,
    "l2_normalize": lambda: lambda x: 3 * F.normalize(x, dim=1),
    "standardize_batch": lambda: lambda x: (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt(),
}
# A synchronized norm takes only tensors of an accelerator in training.
EVALUATED = ("synchronized_batch_norm",)
for _name, _make in IMAGES.items():
    train = _name not in EVALUATED
    normalization.add(_name, lambda make=_make, t=train: images(convolutional(make(), nn.ReLU()).train(t)))
for _name, _make in VECTORS.items():
    normalization.add(_name, lambda make=_make: vectors(dense(make(), nn.ReLU()).train()))
normalization.add("batch_norm_frozen", _frozen)
normalization.add("batch_norm_over_two_values", _two_values)
normalization.add("batch_norm_of_one_pixel", _one_pixel)
normalization.add("batch_norm_in_evaluation", _warmed_up)
normalization.add("batch_norm_under_two_names", lambda: vectors(SharedNorm().train()))


@normalization.case
def residual_batch_norm_net() -> Problem:
    def branch() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8),
        )  # fmt: skip

    return images(convolutional(Residual(branch()), nn.ReLU(), Residual(branch())).train())


@normalization.case
def zero_initialised_last_batch_norm() -> Problem:
    branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    nn.init.zeros_(branch[1].weight)
    return images(convolutional(Residual(branch), nn.ReLU()).train())
