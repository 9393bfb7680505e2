"""Convolutions, pooling and resampling."""

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Residual, convolutional, drawn, images, labels, sequences

convolutions = Group("convolutions and pooling")


class Flattened(nn.Module):
    """``.view`` after a convolution, which asks for a contiguous output."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2), nn.Linear(72, 8)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        z = torch.relu(self.b(torch.relu(self.a(x))))
        return self.out(torch.relu(self.c(z.view(len(z), -1))))


class Shuffle(nn.Module):
    """The channel shuffle of ShuffleNet, by ``.view``."""

    def forward(self, x: Tensor) -> Tensor:
        """Channels of two groups, interleaved."""
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, c, h, w)


class Warp(nn.Module):
    """A spatial transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.pose = nn.Linear(8, 6)
        nn.init.normal_(self.pose.weight, std=0.05)
        self.pose.bias = nn.Parameter(torch.tensor([0.9, 0.1, 0, -0.1, 0.9, 0]))

    def forward(self, x: Tensor) -> Tensor:
        """Sampled on a grid that depends on the input."""
        grid = F.affine_grid(self.pose(x.mean((2, 3))).view(-1, 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class Deformable(nn.Module):
    """Deformable convolution of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets, self.layer = nn.Conv2d(8, 18, 3, padding=1), torchvision.ops.DeformConv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """With offsets from the input."""
        return self.layer(x, self.offsets(x))


class Unfolded(nn.Module):
    """A convolution by unfold and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 72) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """The same size."""
        return (self.weight @ F.unfold(x, 3, padding=1)).view_as(x)


class FourierConv(nn.Module):
    """A long convolution by FFT, as in Hyena."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 8, 8) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """A circular convolution of each channel with a kernel of full size."""
        return torch.fft.irfft2(torch.fft.rfft2(x) * torch.fft.rfft2(self.kernel), s=x.shape[-2:])


class SharedKernel(nn.Module):
    """One weight in three dilated convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of three scales."""
        return sum(F.conv2d(x, self.weight, padding=d, dilation=d) for d in (1, 2, 3))


def _conv(**options: Any) -> nn.Module:
    return nn.Conv2d(8, 8, 3, **{"padding": 1, **options})


LAYERS: dict[str, Any] = {
    "convolution_dilated": lambda: _conv(dilation=2, padding=2),
    "convolution_grouped": lambda: _conv(groups=4),
    "convolution_depthwise": lambda: nn.Sequential(_conv(groups=8), nn.Conv2d(8, 8, 1)),
    "convolution_strided_circular": lambda: _conv(stride=2, padding_mode="circular"),
    "convolution_same_padding": lambda: _conv(padding="same", padding_mode="reflect"),
    "convolution_transposed": lambda: nn.ConvTranspose2d(8, 8, 3, stride=2, output_padding=1),
    "convolution_separable": lambda: nn.Sequential(nn.Conv2d(8, 8, (1, 3), padding=(0, 1)), nn.Conv2d(8, 8, (3, 1))),
    "residual_convolution": lambda: Residual(_conv()),
    "channel_shuffle_by_view": Shuffle,
    "channel_shuffle": lambda: nn.ChannelShuffle(2),
    "pixel_shuffle": lambda: nn.Sequential(nn.Conv2d(8, 32, 1), nn.PixelShuffle(2)),
    "pixel_unshuffle": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(32, 8, 1)),
    "spatial_transformer": Warp,
    "deformable_convolution": Deformable,
    "unfold": Unfolded,
    "convolution_by_fourier": FourierConv,
    "shared_kernel": SharedKernel,
    "max_pooling": lambda: nn.MaxPool2d(2),
    "average_pooling": lambda: nn.AvgPool2d(3, 2, padding=1),
    "norm_pooling": lambda: lambda x: F.lp_pool2d(x.relu() + 0.1, 2, 2),
    "adaptive_max_pooling": lambda: nn.AdaptiveMaxPool2d(3),
    "generalized_mean_pooling": lambda: lambda x: x.clamp(min=1e-3).pow(3).mean((2, 3), keepdim=True).pow(1 / 3),
    "max_unpooling": lambda: lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    "upsample_bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "upsample_bicubic": lambda: lambda x: F.interpolate(x, size=5, mode="bicubic"),
    "upsample_nearest": lambda: nn.UpsamplingNearest2d(scale_factor=2),
    "blur_pooling": lambda: lambda x: F.conv2d(x, torch.full((8, 1, 2, 2), 0.25), groups=8),
    "roll_and_flip": lambda: lambda x: x.roll(1, 2) + x.flip(3),
    "fold": lambda: lambda x: F.fold(F.unfold(x, 2, stride=2), x.shape[-2:], 2, stride=2),
}
for _name, _make in LAYERS.items():
    convolutions.add(_name, lambda make=_make: images(convolutional(nn.ReLU(), make(), nn.ReLU())))
convolutions.add("view_after_a_convolution", lambda: images(Flattened()))


@convolutions.case
def convolution_in_one_dimension() -> Problem:
    body = nn.Sequential(nn.Conv1d(5, 8, 3), nn.ReLU(), Residual(nn.Conv1d(8, 8, 3, padding=1)), nn.ReLU())
    return sequences(nn.Sequential(*body, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4)))


@convolutions.case
def convolution_in_three_dimensions() -> Problem:
    body = nn.Sequential(nn.Conv3d(2, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 8, 2), nn.ReLU())
    model = nn.Sequential(*body, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 4))
    return Problem(model=model, inputs=drawn(4, 2, 6, 6, 6), targets=labels(4))


@convolutions.case
def segmentation_map() -> Problem:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    return Problem(model=model, inputs=drawn(2, 3, 6, 6), targets=torch.arange(72).reshape(2, 6, 6) % 4)


@convolutions.case
def patches_as_tokens() -> Problem:
    mixer = Residual(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)))
    body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.Identity())

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.mixer, self.out = body, mixer, nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.mixer(self.body(x).transpose(1, 2)).mean(1))

    return images(Patches())
