"""Weights that are computed from other weights: normalized, pruned, masked, factorized, generated."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import convolutional, dense, images, vectors

reparametrized = Group("reparametrized weights")


def _changed(change: Any, *, train: bool = True) -> Problem:
    """A dense net whose middle layer is changed."""
    model = dense(nn.ReLU(), nn.Linear(8, 8), nn.ReLU()).train(train)
    change(model[2])
    return vectors(model)


def _changed_convolution(change: Any) -> Problem:
    model = convolutional(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    change(model[2])
    return images(model)


def _prune_twice(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, "weight", amount=0.3)
    prune.random_unstructured(layer, "weight", amount=0.3)


class Symmetric(nn.Module):
    """A parametrization by symmetric matrices."""

    def forward(self, weight: Tensor) -> Tensor:
        """The upper triangle on both sides."""
        return weight.triu() + weight.triu(1).T


CHANGES: dict[str, Any] = {
    "weight_norm_old": nn.utils.weight_norm,
    "weight_norm_parametrization": parametrizations.weight_norm,
    "spectral_norm_old": nn.utils.spectral_norm,
    "spectral_norm_parametrization": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "orthogonal_cayley": lambda layer: parametrizations.orthogonal(layer, orthogonal_map="cayley"),
    "symmetric_parametrization": lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric()),
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "pruned_structured": lambda layer: prune.ln_structured(layer, "weight", amount=0.5, n=2, dim=0),
    "pruned_twice": _prune_twice,
    "pruned_identity": lambda layer: prune.identity(layer, "bias"),
}
for _name, _change in CHANGES.items():
    reparametrized.add(_name, _changed, _change)
reparametrized.add("spectral_norm_old_in_evaluation", lambda: _changed(nn.utils.spectral_norm, train=False))
for _name in ("weight_norm_old", "weight_norm_parametrization", "spectral_norm_old", "pruned"):
    reparametrized.add(f"convolution_{_name}", _changed_convolution, CHANGES[_name])


def _run_before(change: Any) -> Problem:
    """A net that has been run once: its weight is a tensor with a graph, which copy.deepcopy rejects."""
    problem = _changed(change)
    problem.outputs()
    return problem


for _name in ("weight_norm_old", "spectral_norm_old", "pruned"):
    reparametrized.add(f"{_name}_run_before", _run_before, CHANGES[_name])


class StandardizedConv(nn.Conv2d):
    """Weight standardization."""

    def forward(self, x: Tensor) -> Tensor:
        """With weights of mean 0 and variance 1."""
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, 0.2 * w, self.bias, self.stride, self.padding)


class BatchNormStandardizedConv(nn.Conv2d):
    """Weight standardization by F.batch_norm, as in timm."""

    def forward(self, x: Tensor) -> Tensor:
        """With normalized weights."""
        w = F.batch_norm(self.weight.reshape(1, 8, -1), None, None, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(x, 0.2 * w.reshape_as(self.weight), self.bias, self.stride, self.padding)


class MaskedConv(nn.Conv2d):
    """The causal convolution of PixelCNN; the mask is applied to ``.data`` in the forward."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        mask = torch.ones_like(self.weight)
        mask[:, :, 1, 1:] = mask[:, :, 2:] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """The masked convolution."""
        self.weight.data *= self.mask
        return super().forward(x)


class MaskedLinear(nn.Linear):
    """The autoregressive layer of MADE."""

    def __init__(self) -> None:
        super().__init__(8, 8)
        self.register_buffer("mask", torch.ones(8, 8).tril())

    def forward(self, x: Tensor) -> Tensor:
        """With the masked weight."""
        return F.linear(x, self.mask * self.weight, self.bias)


class LowRank(nn.Linear):
    """A frozen weight with a trained update of rank 2 (LoRA)."""

    def __init__(self) -> None:
        super().__init__(8, 8)
        self.requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.randn(2, 8) / 3), nn.Parameter(torch.randn(8, 2) / 3)

    def forward(self, x: Tensor) -> Tensor:
        """Frozen product and update."""
        return super().forward(x) + x @ self.down.T @ self.up.T


class HyperNetwork(nn.Module):
    """Weights generated from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(8, 72)

    def forward(self, x: Tensor) -> Tensor:
        """A linear map of each sample's own."""
        made = self.generator(x)
        return torch.einsum("bij,bj->bi", made[:, :64].view(-1, 8, 8), x) + made[:, 64:]


class Embedded(nn.Module):
    """One generator makes the weights of two layers from their embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.codes, self.generator = nn.Parameter(torch.randn(2, 3)), nn.Linear(3, 64)

    def forward(self, x: Tensor) -> Tensor:
        """Both layers."""
        for weight in self.generator(self.codes).view(2, 8, 8):
            x = torch.tanh(x @ weight)
        return x


class Exponential(nn.Module):
    """A rotation by the matrix exponential of a skew matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(8, 8) / 3)

    def forward(self, x: Tensor) -> Tensor:
        """Rotated."""
        return x @ torch.linalg.matrix_exp(self.raw - self.raw.T)


class KroneckerLinear(nn.Module):
    """A Kronecker product as weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.randn(4, 4) / 2)

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return x @ torch.kron(self.a, self.b)


LAYERS: dict[str, Any] = {"masked_linear": MaskedLinear, "low_rank_adapter": LowRank, "hypernetwork": HyperNetwork,
                          "hypernetwork_of_codes": Embedded, "matrix_exponential": Exponential,
                          "kronecker": KroneckerLinear}  # fmt: skip
for _name, _layer in LAYERS.items():
    reparametrized.add(_name, lambda layer=_layer: vectors(dense(nn.ReLU(), layer(), nn.ReLU())))
for _name, _conv in {"standardized_convolution": StandardizedConv, "masked_convolution": MaskedConv,
                     "standardized_by_batch_norm": BatchNormStandardizedConv}.items():  # fmt: skip
    reparametrized.add(_name, lambda conv=_conv: images(convolutional(nn.ReLU(), conv(8, 8, 3, padding=1), nn.ReLU())))


@reparametrized.case
def adapters_on_a_frozen_net() -> Problem:
    model = dense(nn.ReLU(), LowRank(), nn.ReLU(), LowRank())
    for i in (0, 5):
        model[i].requires_grad_(False)
    return vectors(model)


@reparametrized.case
def cached_parametrization() -> Problem:
    model = dense(nn.ReLU(), parametrizations.weight_norm(nn.Linear(8, 8)))

    def forward(net: nn.Module, x: Tensor) -> Tensor:
        with parametrize.cached():
            return net(x)

    problem = vectors(model)
    return Problem(model=model, inputs=problem.inputs, targets=problem.targets, forward=forward)
