"""Families: shapes, the formulas they stand for, and what they refuse."""

import pytest
import torch

import ammup
from ammup import InputError


def test_mlp_is_the_formula_of_the_paper() -> None:
    net = ammup.mlp(3, width=[5, 7, 6], in_features=12, out_features=4, activation="gelu")
    x = torch.randn(2, 3, 2, 2)
    z = net.layers[0].weight @ x.flatten(1).T
    for layer in net.layers[1:]:
        z = layer.weight @ torch.nn.functional.gelu(z)
    torch.testing.assert_close(net(x), (net.readout.weight @ torch.nn.functional.gelu(z)).T)


def test_resnet_block_is_the_formula_of_the_paper() -> None:
    net = ammup.resnet(1, width=6, dims=0, branch=3, in_channels=6, out_channels=2)
    first, second, third = (layer.weight for layer in net.blocks[0].branch)
    z = net.stem(torch.randn(4, 6)).T
    branch = third @ (second @ (first @ z.relu()).relu()).relu()
    torch.testing.assert_close(net.blocks[0](z.T), (z + branch).T)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("head", ["pool", "field"])
@pytest.mark.parametrize("family", [ammup.cnn, ammup.resnet])
def test_heads(family, head: str, dims: int) -> None:
    net = family(2, width=8, dims=dims, head=head, out_channels=5)
    side = (6, 4)[:dims]
    assert net(torch.randn(3, 3, *side)).shape == ((3, 5) if head == "pool" else (3, 5, *side))


def test_one_dimensional_nets_read_images_as_raster_sequences() -> None:
    net = ammup.cnn(2, width=4, dims=1, head="field")
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(net(x), net(x.flatten(2)))


def test_mixed_branch_projection_groups_and_dilation() -> None:
    net = ammup.resnet(
        3, width=8, branch=("conv", "dense"), projections=[2], groups=2, dilation=2, batchnorm=True, dropout=0.1
    )
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    assert net.blocks[1].skip.weight.shape == (16, 8, 1, 1)
    assert net.blocks[1](torch.randn(2, 8, 8, 8)).shape == (2, 16, 4, 4)
    assert net.blocks[0].branch[0].groups == 2
    assert net.blocks[0].branch[0].dilation == (2, 2)
    assert net.blocks[0].branch[1].kernel_size == (1, 1)
    assert ammup.minimal_depth(net) == 3


def test_dense_projection_doubles_the_width() -> None:
    net = ammup.resnet(2, width=8, dims=0, in_channels=4, projections=[1])
    assert net(torch.randn(2, 4)).shape == (2, 10)
    assert net.blocks[0](torch.randn(2, 8)).shape == (2, 16)


@pytest.mark.parametrize("family", [ammup.mlp, ammup.cnn, ammup.resnet])
def test_seed_decides_the_weights_and_depth_makes_them_independent(family) -> None:
    first, again, other = (family(2, width=8, seed=seed) for seed in (1, 1, 2))
    for name, weight in first.named_parameters():
        assert torch.equal(weight, dict(again.named_parameters())[name])
        assert not torch.equal(weight, dict(other.named_parameters())[name])
    deeper = dict(family(3, width=8, seed=1).named_parameters())
    assert not torch.equal(next(iter(first.parameters())), next(iter(deeper.values())))


@pytest.mark.parametrize("family", [ammup.mlp, ammup.cnn, ammup.resnet])
def test_building_a_seeded_net_leaves_the_random_state_alone(family) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    family(2, width=8, seed=5)
    # torch's own layers draw their default weights when they are made; a seeded family must not let that show.
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ammup.mlp(0), "depth=0: expected"),
        (lambda: ammup.cnn(-1), "depth=-1"),
        (lambda: ammup.resnet(0), "depth=0"),
        (lambda: ammup.mlp(2, width=0), "width=0"),
        (lambda: ammup.mlp(2, width=[8]), "1 widths for depth=2"),
        (lambda: ammup.mlp(2, activation="tanh"), "expected one of: relu, gelu, linear"),
        (lambda: ammup.mlp(2, readout="zero"), "readout='zero'"),
        (lambda: ammup.cnn(2, dims=0), "use mlp"),
        (lambda: ammup.cnn(2, head="token"), "head='token'"),
        (lambda: ammup.cnn(2, kernel=4, padding="zero"), "no centre"),
        (lambda: ammup.resnet(2, dims=3), "dims=3"),
        (lambda: ammup.resnet(2, branch=0), "branch=0"),
        (lambda: ammup.resnet(2, branch=("pool",)), "names from"),
        (lambda: ammup.resnet(2, dims=0, branch=("conv",)), "names from"),
        (lambda: ammup.resnet(2, dropout=1.0), "dropout=1.0"),
        (lambda: ammup.resnet(2, projections=[3]), "block numbers from 1"),
        (lambda: ammup.resnet(2, scaled="first"), "scaled='first'"),
        (lambda: ammup.resnet(2, c=0.0), "c=0.0"),
    ],
)
def test_bad_arguments_are_refused(build, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()
