"""The modules of the paper's families.

Axes: B batch, C channel, P position (none in dense nets, one or two axes in convolutional ones). No weight layer has a
bias, because the paper's biases are zero.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ammup.models.layers import activation_module, linear


class MLP(nn.Module):
    """z_1 = W_1 x, z_l = W_l φ(z_(l-1)), output W φ(z_L). Each of ``layers`` is a depth unit."""

    def __init__(self, widths: Sequence[int], *, in_features: int, out_features: int, activation: str) -> None:
        super().__init__()
        sizes = [in_features, *widths]
        self.layers = nn.ModuleList(linear(a, b) for a, b in zip(sizes, widths, strict=False))
        self.activation = activation_module(activation)
        self.readout = linear(sizes[-1], out_features)

    def forward(self, x: Float[Tensor, "B *shape"]) -> Float[Tensor, "B out"]:
        """Logits; all axes after the batch axis are flattened."""
        z = x.flatten(1)
        for i, layer in enumerate(self.layers):
            z = layer(self.activation(z) if i else z)
        out: Tensor = self.readout(self.activation(z))
        return out


class CNN(nn.Module):
    """Homogeneous convolutional blocks (paper, section 3.2). Each of ``layers`` is a depth unit."""

    def __init__(self, layers: Sequence[nn.Module], *, dims: int, activation: str, head: nn.Module) -> None:
        super().__init__()
        self.dims = dims
        self.layers = nn.ModuleList(layers)
        self.activation = activation_module(activation)
        self.readout = head

    def forward(self, x: Float[Tensor, "B C *P"]) -> Float[Tensor, "B out *Q"]:
        """Logits (head "pool") or one output field (head "field"); a 1D net flattens images in raster order."""
        z = x.flatten(2) if self.dims == 1 else x
        for i, layer in enumerate(self.layers):
            z = layer(self.activation(z) if i else z)
        out: Tensor = self.readout(self.activation(z))
        return out


class ResidualBlock(nn.Module):
    """z ← skip(z) + W_m φ(… W_1 φ(z)): one pre-activation block, one depth unit (paper, section 3.2)."""

    def __init__(
        self,
        branch: Sequence[nn.Module],
        *,
        activation: str,
        skip: nn.Module | None = None,
        norms: Sequence[nn.Module] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.branch = nn.ModuleList(branch)
        self.norms = nn.ModuleList(norms or (nn.Identity() for _ in branch))
        self.activation = activation_module(activation)
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if skip is None else skip

    def forward(self, z: Float[Tensor, "B C *P"]) -> Float[Tensor, "B D *Q"]:
        """The residual addition of skip and branch."""
        h = self.branch_of(z)  # before the skip, because initialize_ draws weights in the order of the forward
        merged: Tensor = self.skip(z) + h
        return merged

    def branch_of(self, z: Float[Tensor, "B C *P"]) -> Float[Tensor, "B D *Q"]:
        """The output of the branch; dropout acts on the input of its last layer."""
        h = z
        last = len(self.branch) - 1
        for i, (norm, layer) in enumerate(zip(self.norms, self.branch, strict=True)):
            h = self.activation(norm(h))
            h = layer(self.dropout(h) if i == last else h)
        return h


class ResNet(nn.Module):
    """Stem, residual blocks, readout. Each of ``blocks`` is a depth unit; stem and readout are not counted."""

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[ResidualBlock],
        *,
        dims: int,
        activation: str,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.dims = dims
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.activation = activation_module(activation)
        self.readout = head

    def forward(self, x: Float[Tensor, "B C *P"]) -> Float[Tensor, "B out *Q"]:
        """Logits (dense, or head "pool") or one output field; see :class:`CNN`."""
        z = self.stem(x if self.dims == 2 else x.flatten(self.dims + 1))
        for block in self.blocks:
            z = block(z)
        out: Tensor = self.readout(self.activation(z))
        return out


class MeanOverPositions(nn.Module):
    """Global average pooling: (B, C, *P) to (B, C)."""

    def forward(self, z: Float[Tensor, "B C *P"]) -> Float[Tensor, "B C"]:
        """The mean over all positions."""
        return z.flatten(2).mean(2)
