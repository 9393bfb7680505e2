"""The modules of the families, against their forwards written as formulas."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ammup.models.nets import CNN, MLP, MeanOverPositions, ResidualBlock, ResNet

GENERATOR = torch.Generator().manual_seed(0)


def _randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def _drawn(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(_randn(*parameter.shape))
    return module


@pytest.mark.parametrize("activation", ["relu", "gelu", "linear"])
def test_an_mlp_is_a_product_of_weights_with_activations_between(activation: str) -> None:
    net = _drawn(MLP([5, 4, 3], in_features=6, out_features=2, activation=activation))
    phi = {"relu": F.relu, "gelu": F.gelu, "linear": lambda z: z}[activation]
    x = _randn(7, 2, 3)  # flattened
    z = x.reshape(7, 6) @ net.layers[0].weight.T
    for layer in net.layers[1:]:
        z = phi(z) @ layer.weight.T
    torch.testing.assert_close(net(x), phi(z) @ net.readout.weight.T)
    assert [tuple(layer.weight.shape) for layer in net.layers] == [(5, 6), (4, 5), (3, 4)]


def test_no_weight_layer_of_an_mlp_has_a_bias() -> None:
    net = MLP([5, 4], in_features=6, out_features=2, activation="relu")
    assert {name.rpartition(".")[2] for name, _ in net.named_parameters()} == {"weight"}


def test_a_cnn_applies_its_layers_in_turn_and_reads_images_as_sequences_in_one_dimension() -> None:
    layers = [nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)]
    net = _drawn(CNN(layers, dims=1, activation="relu", head=nn.Sequential(MeanOverPositions(), nn.Linear(4, 2))))
    images = _randn(5, 3, 2, 4)
    z = net.layers[1](F.relu(net.layers[0](images.flatten(2))))
    expected = F.relu(z).mean(dim=2) @ net.readout[1].weight.T + net.readout[1].bias
    torch.testing.assert_close(net(images), expected)


class _Double(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 2 * z


def test_a_block_adds_its_branch_to_its_skip() -> None:
    branch = [nn.Linear(4, 5, bias=False), nn.Linear(5, 4, bias=False)]
    block = _drawn(ResidualBlock(branch, activation="relu", skip=_Double()))
    z = _randn(6, 4)
    h = F.relu(F.relu(z) @ block.branch[0].weight.T) @ block.branch[1].weight.T
    torch.testing.assert_close(block.branch_of(z), h)
    torch.testing.assert_close(block(z), 2 * z + h)
    identity = ResidualBlock(branch, activation="relu")
    torch.testing.assert_close(identity(z), z + h)


def test_norms_come_before_activations_and_dropout_before_the_last_layer_only() -> None:
    """The last layer is the identity, so that a branch is what dropout leaves: 0, or twice its input."""
    last = nn.Linear(4, 4, bias=False)
    nn.init.eye_(last.weight)
    block = ResidualBlock([nn.Identity(), last], activation="relu", norms=[_Double(), nn.Identity()], dropout=0.5)
    z = _randn(50, 4)
    kept = block.branch_of(z) / (2 * F.relu(2 * z))
    values = set(kept[z > 0].round(decimals=4).tolist())
    assert values == {0.0, 1.0}
    torch.testing.assert_close(block.eval().branch_of(z), F.relu(2 * z))


@pytest.mark.parametrize(("dims", "flat"), [(0, (5, 24)), (1, (5, 3, 8)), (2, (5, 3, 2, 4))])
def test_a_resnet_is_a_stem_its_blocks_and_a_readout_of_the_activations(dims: int, flat: tuple[int, ...]) -> None:
    seen: list[tuple[int, ...]] = []

    class Stem(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return x

    blocks = [ResidualBlock([_Double()], activation="relu") for _ in range(2)]
    net = ResNet(Stem(), blocks, dims=dims, activation="relu", head=nn.Identity())
    x = _randn(5, 3, 2, 4)
    z = x.reshape(flat)
    for _ in range(2):
        z = z + 2 * F.relu(z)
    torch.testing.assert_close(net(x), F.relu(z))
    assert seen == [flat]


@pytest.mark.parametrize("shape", [(5, 3, 8), (5, 3, 2, 4)])
def test_pooling_is_the_mean_over_all_positions(shape: tuple[int, ...]) -> None:
    z = _randn(*shape)
    torch.testing.assert_close(MeanOverPositions()(z), z.mean(dim=tuple(range(2, z.ndim))))
