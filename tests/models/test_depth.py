"""Depth units of our families, of torchvision-like code and of what cannot be traced."""

import pytest
import torch
from torch import nn
from torchvision import models

import ammup
from ammup import InputError
from ammup.models.depth import CONVENTIONS, depth_units, structure_of
from ammup.models.flow import observed


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_depth_of_the_families_is_their_argument(depth: int) -> None:
    for net in (
        ammup.mlp(depth, width=4),
        ammup.cnn(depth, width=4),
        ammup.cnn(depth, width=4, kernel=[(0, 0), (1, 1)], head="field"),
        ammup.resnet(depth, width=4),
        ammup.resnet(depth, width=4, dims=0, branch=1),
        ammup.resnet(depth, width=4, branch=("conv", "conv", "dense"), batchnorm=True, dropout=0.5, projections=[1]),
    ):
        assert ammup.minimal_depth(net) == depth


def test_vgg_has_its_weight_layers_but_the_readout() -> None:
    with torch.device("meta"):
        model = models.vgg11()
    units = ammup.depth_units(model)  # 8 convolutions and 3 linear layers
    assert len(units) == 10
    assert units[0] == "features.0"
    assert units[-1] == "classifier.3"


# What each convention counts, readout and stem left out, and why:
#   vgg11: 8 convolutions and 2 of 3 linear layers; nothing residual.
#   resnet18: 8 blocks of two convolutions; the shortest path has the stem, 8 sums, and a projection in 3 of them.
#   resnet50, resnext, wide_resnet: 16 blocks of three; 4 projections, one of them in the first stage.
#   densenet121: concatenations are no sums, so every convolution is a unit; the shortest path skips dense layers and
#     has the stem and 3 transitions.
#   mobilenet_v2: 10 of 17 blocks have a sum; outside are 2 convolutions in the first, 3 in six others, and the last.
#   convnext_tiny: 18 blocks of three, and 3 downsampling convolutions between stages.
# "update-bearing" is "paper" with the stem, where there are residual blocks.
COUNTS = {
    "vgg11": {"paper": 10, "layers": 10, "relu": 10, "shortest": 10, "update-bearing": 10},
    "vgg16": {"paper": 15, "layers": 15, "relu": 15, "shortest": 15, "update-bearing": 15},
    "resnet18": {"paper": 8, "blocks": 8, "layers": 17, "relu": 17, "shortest": 12, "update-bearing": 9},
    "resnet34": {"paper": 16, "blocks": 16, "layers": 33, "relu": 33, "shortest": 20, "update-bearing": 17},
    "resnet50": {"paper": 16, "blocks": 16, "layers": 49, "relu": 49, "shortest": 21, "update-bearing": 17},
    "resnet101": {"paper": 33, "blocks": 33, "layers": 100, "relu": 100, "shortest": 38, "update-bearing": 34},
    "wide_resnet50_2": {"paper": 16, "blocks": 16, "layers": 49, "relu": 49, "shortest": 21, "update-bearing": 17},
    "resnext50_32x4d": {"paper": 16, "blocks": 16, "layers": 49, "relu": 49, "shortest": 21, "update-bearing": 17},
    "densenet121": {"paper": 120, "layers": 120, "relu": 121, "shortest": 4, "update-bearing": 120},
    "mobilenet_v2": {"paper": 31, "blocks": 10, "layers": 52, "relu": 35, "shortest": 32, "update-bearing": 32},
    "convnext_tiny": {"paper": 21, "blocks": 18, "layers": 58, "relu": 18, "shortest": 22, "update-bearing": 22},
}


@pytest.mark.parametrize("name", COUNTS)
def test_torchvision_traced(name: str) -> None:
    with torch.device("meta"):
        model = getattr(models, name)(weights=None)
    structure = structure_of(model)
    assert {c: n for c in CONVENTIONS if (n := len(structure.units(c)))} == COUNTS[name]


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "resnext50_32x4d", "densenet121", "mobilenet_v2"])
def test_a_recorded_run_gives_the_units_of_the_trace(name: str) -> None:
    model = getattr(models, name)(weights=None)
    traced, recorded = structure_of(model), structure_of(model, torch.randn(2, 3, 64, 64))
    for convention in CONVENTIONS:
        assert recorded.units(convention) == traced.units(convention)
    assert [(o.name, o.role, o.weight) for o in recorded.layers] == [(o.name, o.role, o.weight) for o in traced.layers]
    assert recorded.path_sum() == traced.path_sum()


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        h = self.second(torch.tanh(self.first(torch.relu(z))))
        h += z
        return h


class _Sums(nn.Module):
    """Residual additions in all the ways they are written, one block shared."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = nn.Linear(4, 4), nn.Linear(4, 2)
        self.a, self.b, self.c, self.d, self.shared = (nn.Linear(4, 4) for _ in range(5))
        self.nested = nn.Sequential(nn.Sequential(_Block(4)), nn.ReLU(inplace=True), nn.Sequential(nn.Linear(4, 4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.stem(x)
        z = z + self.a(z.relu())
        z = torch.add(z, self.b(z.relu()))
        z += self.c(z.relu())
        z = z.add(self.d(z.relu()), alpha=0.5)
        for _ in range(2):
            z = self.shared(z.relu_())
        return self.out(self.nested(z + 1.0))


def test_additions_nested_and_shared_modules_and_in_place_activations() -> None:
    model = _Sums()
    expected = (":add", ":add_2", ":add_3", ":add_4", "shared", "shared@2", "nested.0.0", "nested.2.0")
    assert ammup.depth_units(model) == expected
    assert ammup.depth_units(model, torch.randn(3, 4)) == expected


class _Functional(nn.Module):
    """Weights that no module multiplies by."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(4, 4))
        self.second = nn.Parameter(torch.randn(4, 4))
        self.out = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.nn.functional.linear(x, self.first * 2)
        return self.out(torch.relu(z @ self.second.t()))


def test_functional_layers() -> None:
    model = _Functional()
    assert ammup.depth_units(model) == (":linear", ":matmul")
    assert ammup.depth_units(model, torch.randn(3, 4)) == (":linear", ":matmul")


class _Two(nn.Module):
    """Two inputs, a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.out(torch.relu(self.a(x) + self.b(y)))}


def test_several_inputs_and_dict_outputs() -> None:
    inputs = (torch.randn(3, 4), torch.randn(3, 3))
    call = lambda model, xy: model(*xy)["logits"]  # noqa: E731
    assert ammup.depth_units(_Two(), inputs, forward=call) == ("a",)  # a and b are parallel


def test_recording_leaves_the_model_and_the_random_state_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(), nn.Linear(4, 2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    state = torch.random.get_rng_state()
    assert ammup.depth_units(model, torch.randn(8, 4, generator=torch.Generator())) == ("0",)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks


# Rules, each on a model whose count its paper states


@pytest.mark.parametrize(
    ("name", "convention", "expected"),
    [
        ("googlenet", "layers", 21),  # 22 layers with the readout; inception modules are two deep
        ("inception_v3", "layers", 47),  # 48 layers with the readout
        ("squeezenet1_1", "layers", 17),  # 18 layers with the readout
        ("mobilenet_v3_large", "layers", 47),  # 15 blocks, 14 of three layers; squeeze-and-excitation is a gate
        ("efficientnet_b0", "layers", 49),  # 16 blocks, 15 of three layers
        ("swin_t", "paper", 27),  # 12 blocks of two additions, 3 patch mergings
        ("swin_v2_t", "paper", 27),
    ],
)
def test_counts_do_not_depend_on_parallel_branches_gates_image_size_or_mode(
    name: str, convention: str, expected: int
) -> None:
    with torch.device("meta"):
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = getattr(models, name)(weights=None, **options)
    small = 299 if name == "inception_v3" else 64
    for side, training in ((small, False), (small, True), (2 * small + 96, False)):
        images = torch.zeros(2, 3, side, side, device="meta")
        assert ammup.minimal_depth(model.train(training), images, convention=convention) == expected


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], n_layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.rnn = kind(4, 3, n_layers, batch_first=True, bidirectional=bidirectional)
        self.out = nn.Linear(6 if bidirectional else 3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("kind", "n_layers"), [(nn.RNN, 1), (nn.LSTM, 2), (nn.GRU, 3)])
def test_each_recurrent_layer_is_a_unit(kind: type[nn.RNNBase], n_layers: int, bidirectional: bool) -> None:
    model = _Recurrent(kind, n_layers, bidirectional)
    expected = (*(f"rnn:layer_{k}" for k in range(1, n_layers)), "rnn")
    assert ammup.depth_units(model) == expected
    assert ammup.depth_units(model, torch.randn(2, 5, 4)) == expected


class _Unrolled(nn.Module):
    def __init__(self, kind: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.cell, self.out = kind(4, 3), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.cell(x[:, 1], self.cell(x[:, 0]))
        return self.out(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_each_call_of_a_recurrent_cell_is_a_unit(kind: type[nn.RNNCellBase]) -> None:
    assert ammup.depth_units(_Unrolled(kind)) == ("cell", "cell@2")
    assert ammup.depth_units(_Unrolled(kind), torch.randn(2, 2, 4)) == ("cell", "cell@2")


class _Stemmed(nn.Module):
    """A stem of two layers, a layer outside of it, and a block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.wide, self.blocks, self.out = nn.Linear(4, 4), nn.Sequential(_Block(4), nn.Identity()), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.blocks(self.wide(self.stem(x))))


def test_a_stem_is_the_first_module_and_a_block_is_named_by_itself() -> None:
    for example in (None, torch.randn(2, 4)):
        assert ammup.depth_units(_Stemmed(), example) == ("wide", "blocks.0")
        units = ammup.depth_units(_Stemmed(), example, convention="update-bearing")
        assert units == ("stem.0", "stem.2", "wide", "blocks.0")
        assert ammup.depth_units(nn.Sequential(_Stemmed()), example) == ("0.wide", "0.blocks.0")


def test_units_without_a_trained_weight_bear_no_update() -> None:
    model = _Stemmed()
    model.stem.requires_grad_(False)
    assert ammup.depth_units(model, convention="update-bearing") == ("wide", "blocks.0")
    model.blocks[0].first.requires_grad_(False)
    assert ammup.minimal_depth(model, convention="update-bearing") == 2
    model.blocks[0].second.requires_grad_(False)
    assert ammup.depth_units(model, convention="update-bearing") == ("wide",)
    assert ammup.depth_units(model) == ("wide", "blocks.0")


class _Auxiliary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.auxiliary = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        z = self.first(x)
        return {"logits": self.out(self.second(torch.relu(z))), "auxiliary": self.auxiliary(z)}


def test_auxiliary_heads_are_off_the_path() -> None:
    assert ammup.depth_units(_Auxiliary()) == ("first", "second")
    assert ammup.depth_units(_Auxiliary(), torch.randn(2, 4)) == ("first", "second")
    head = lambda model, x: model(x)["auxiliary"]  # noqa: E731
    assert ammup.depth_units(_Auxiliary(), torch.randn(2, 4), forward=head) == ("first", "auxiliary.0", "auxiliary.2")


class _PositionBias(nn.Module):
    """A bias computed from coordinates and a mask with the shape of the input are added to the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bias, self.out = (nn.Linear(4, 4) for _ in range(4))
        self.register_buffer("table", torch.ones(1, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x) + self.bias(self.table)
        return self.out(torch.relu(self.second(torch.relu(z)) + x.new_zeros(x.shape)))


def test_what_does_not_depend_on_the_input_is_off_the_path() -> None:
    assert ammup.depth_units(_PositionBias()) == ("first", "second")
    assert ammup.depth_units(_PositionBias(), torch.randn(2, 4)) == ("first", "second")


class _Router(nn.Module):
    """The index of the largest logit selects a row; no derivative passes through it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.router, self.second, self.out = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.first(x)
        return self.out(torch.relu(self.second(z[self.router(z).argmax(-1)])))


def test_an_index_is_off_the_path() -> None:
    assert ammup.depth_units(_Router(), torch.randn(4, 4)) == ("first", "second")


class _Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x) if x.sum() > 0 else -self.a(x))


def test_what_cannot_be_traced_is_recorded() -> None:
    assert ammup.depth_units(_Untraceable(), torch.ones(2, 4)) == ("a",)


@pytest.mark.parametrize(
    ("model", "convention", "message"),
    [
        (_Untraceable(), "paper", "could not be traced.*give example_input=, or units="),
        (nn.ReLU(), "paper", "has no linear, convolutional or recurrent layer, so it has no depth"),
        (ammup.cnn(2, width=4), "blocks", "has no depth units in the convention 'blocks'"),
        (
            ammup.cnn(2, width=4),
            "trunk",
            "'trunk'; expected one of: paper, blocks, layers, relu, shortest",
        ),
    ],
)
def test_what_has_no_depth_units_is_refused(model: nn.Module, convention: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.depth_units(model, convention=convention)


class _Blocks(nn.Module):
    """Blocks of a module list, each with a module list and an activation that all of them may share."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        activation = nn.ReLU()
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(4, 4) for _ in range(2)), "act": activation})
            for _ in range(3)
        )
        if not shared:
            for block in self.blocks:
                block["act"] = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            for layer in block["layers"]:
                x = block["act"](layer(x))
        return x


@pytest.mark.parametrize("convention", [name for name in CONVENTIONS if name != "blocks"])
def test_an_activation_shared_by_blocks_changes_no_unit(convention: str) -> None:
    """Kind of TylerYep/torchinfo#327: layers are counted again for each parent of a shared module."""
    layers = tuple(f"blocks.{b}.layers.{i}" for b in range(3) for i in range(2))
    for shared in (False, True):
        net = _Blocks(shared=shared)
        units = layers if convention == "relu" else layers[:-1]  # the last layer is the readout
        assert ammup.depth_units(net, convention=convention) == units
        assert ammup.depth_units(net, torch.ones(2, 4), convention=convention) == units
        assert len(ammup.initialize_(net, seed=0)) == len(layers)


class _Twins(nn.Module):
    """One trunk for two inputs: each path to the output has one of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.out = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([self.trunk(x), self.trunk(-x)], 1))


def test_the_only_call_on_the_path_is_named_and_observed() -> None:
    net, x = _Twins(), torch.randn(3, 4)
    units = depth_units(net, x)
    assert units == ("trunk.0@1", "trunk.2@1")
    seen = {}
    with observed(net, units, seen.__setitem__):
        net(x)
    torch.testing.assert_close(seen["trunk.2@1"], net.trunk(x))


class _Bins(nn.Module):
    """Values that are sorted into bins, whose number selects a row of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.hidden, self.out = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bins = (x[:, 0].abs() * 4).long() % 5
        return self.out(self.hidden(self.rows(bins)).relu())


def test_rows_that_computed_indices_select_begin_a_path() -> None:
    assert depth_units(_Bins(), torch.randn(3, 4)) == ("hidden",)
