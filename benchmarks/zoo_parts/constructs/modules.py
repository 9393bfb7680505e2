"""Ways to write a module: parameter lists, slots, properties, lazy and shared weights, subclasses of tensors."""

from typing import Any

import torch
from torch import Tensor, nn

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Residual, call, convolutional, dense, drawn, images, labels, vectors

modules = Group("ways to write a module")


class InList(nn.Module):
    """Weights in a list, a dictionary or a nested structure of modules."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        weights = [nn.Parameter(torch.randn(8, 8) / 3) for _ in range(2)]
        if way == "list":
            self.weights: Any = nn.ParameterList(weights)
        elif way == "dictionary":
            self.weights = nn.ParameterDict({"a": weights[0], "b": weights[1]})
        else:
            self.weights = nn.ModuleDict({"x": nn.ModuleList([nn.Linear(8, 8)]), "y": nn.ModuleList([nn.Linear(8, 8)])})

    def forward(self, x: Tensor) -> Tensor:
        """Through both weights."""
        if self.way == "nested":
            for group in self.weights.values():
                for layer in group:
                    x = torch.tanh(layer(x))
            return x
        for weight in self.weights.values() if self.way == "dictionary" else self.weights:
            x = torch.tanh(x @ weight)
        return x


class Slots(nn.Linear):
    """A module with ``__slots__`` and a property."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        super().__init__(8, 8)
        object.__setattr__(self, "calls", 0)

    @property
    def scale(self) -> float:
        """Grows with the calls."""
        return 1 + 0.5 * self.calls

    def forward(self, x: Tensor) -> Tensor:
        """Counts in the slot."""
        object.__setattr__(self, "calls", self.calls + 1)
        return super().forward(x) * self.scale


class Delegating(nn.Module):
    """``__getattr__`` that falls through to the wrapped module, as wrappers do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x: Tensor) -> Tensor:
        """Uses an attribute of the wrapped module."""
        return self.inner(x) / self.out_features**0.5


class Outside(nn.Module):
    """Keeps layers in a plain list, and registers their weights by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(8, 8), nn.Linear(8, 8)]
        for i, layer in enumerate(self.layers):
            self.register_parameter(f"weight{i}", layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Through layers that are not registered."""
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


class Shared(nn.Module):
    """One parameter under two names, transposed in one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        """Both layers."""
        return self.b(torch.tanh(self.a(x)))


class View(nn.Module):
    """Weights that are views of one flat parameter, made in every forward or once."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.randn(128) / 3)

    def forward(self, x: Tensor) -> Tensor:
        """Through both halves."""
        a, b = self.flat.view(2, 8, 8)
        return torch.tanh(x @ a) @ b


class OddParameters(nn.Module):
    """Parameters of size one and zero, integer and boolean ones, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.empty = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.zeros(0))
        self.index = nn.Parameter(torch.arange(8).flip(0), requires_grad=False)
        self.mask = nn.Parameter(torch.arange(8) > 2, requires_grad=False)
        self.unused = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled, permuted and masked."""
        return self.scale * x[:, self.index] * self.mask + self.empty.sum()


class Tagged(nn.Parameter):
    """A parameter with an attribute."""

    group = "fast"


class Typed(Tensor):
    """A subclass of Tensor, which functions pass on."""


class WithSubclass(nn.Module):
    """Makes a tensor of a subclass in its forward."""

    def forward(self, x: Tensor) -> Tensor:
        """The input again."""
        return (x.as_subclass(Typed) * 1.5).tanh().as_subclass(Tensor)


class TensorAttribute(nn.Module):
    """A tensor that is an attribute, neither a parameter nor a buffer."""

    def __init__(self, *, list_of: bool) -> None:
        super().__init__()
        table = torch.linspace(0.5, 2, 8)
        self.table: Any = [table, table.flip(0)] if list_of else table

    def forward(self, x: Tensor) -> Tensor:
        """Scaled by it."""
        return x * (self.table[0] + self.table[1] if isinstance(self.table, list) else self.table)


class Assigned(nn.Module):
    """Makes a layer in its first forward, without registering its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.bound = self.layer.forward

    def forward(self, x: Tensor) -> Tensor:
        """Through a method that was bound when the module was made."""
        return self.bound(x)


class ScalarWeights(nn.Module):
    """Weights without dimensions, to which Python's numbers are added."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor([0.1, 0.2]))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled and shifted."""
        a, b = self.shift
        return x * (self.gain + 1.0) + 0.5 * a - (b + 2.0) * 0.1


class ActivatedBlock(nn.Module):
    """Layers of a module list, each followed by a given activation."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.layers, self.activation = nn.ModuleList(nn.Linear(8, 8) for _ in range(2)), activation

    def forward(self, x: Tensor) -> Tensor:
        """Through both layers."""
        for layer in self.layers:
            x = self.activation(layer(x))
        return x


class SharedActivation(nn.Module):
    """Blocks of a module list that all have the same activation module, with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        activation = nn.PReLU()
        self.blocks = nn.ModuleList(ActivatedBlock(activation) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Through all layers."""
        for block in self.blocks:
            x = block(x)
        return x


def _patched_forward() -> Problem:
    model = dense(nn.ReLU(), nn.Linear(8, 8))
    layer = model[2]
    original = layer.forward
    layer.forward = lambda x: torch.tanh(original(x))
    return vectors(model)


def _patched_tree() -> Problem:
    model = dense(nn.ReLU(), Residual(nn.Linear(8, 8)))
    model[2].branch = nn.Sequential(nn.Tanh(), model[2].branch)
    return vectors(model)


LAYERS: dict[str, Any] = {
    "parameter_list": lambda: InList("list"),
    "parameter_dictionary": lambda: InList("dictionary"),
    "nested_module_containers": lambda: InList("nested"),
    "slots_and_property": Slots,
    "attribute_delegation": Delegating,
    "layers_in_a_plain_list": Outside,
    "weight_under_two_names": Shared,
    "views_of_a_flat_parameter": View,
    "odd_parameters": lambda: nn.Sequential(nn.Linear(8, 8), OddParameters()),
    "tensor_subclass_in_forward": WithSubclass,
    "tensor_attribute": lambda: TensorAttribute(list_of=False),
    "tensors_in_a_list": lambda: TensorAttribute(list_of=True),
    "bound_forward": Assigned,
    "bilinear_with_itself": lambda: BilinearSelf(),
    "scalar_weights": ScalarWeights,
    "activation_shared_by_blocks": SharedActivation,
    "identity_and_empty_sequential": lambda: nn.Sequential(nn.Identity(), nn.Sequential()),
}


class BilinearSelf(nn.Module):
    """nn.Bilinear of a value with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(8, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """A quadratic map."""
        return self.layer(x, torch.tanh(x))


for _name, _make in LAYERS.items():
    modules.add(_name, lambda make=_make: vectors(dense(nn.ReLU(), make())))
modules.add("patched_forward", _patched_forward)
modules.add("patched_module_tree", _patched_tree)


@modules.case
def parameter_subclass() -> Problem:
    model = dense(nn.ReLU())
    model[0].weight = Tagged(model[0].weight.detach().clone())
    return vectors(model)


@modules.refused("lazy weights are drawn in the first forward; run it once first")
def lazy_not_initialized() -> Problem:
    return vectors(nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(4)))


@modules.case
def lazy_initialized() -> Problem:
    body = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.LazyConv2d(8, 3), nn.ReLU())
    model = nn.Sequential(*body, nn.Flatten(), nn.LazyLinear(4))
    problem = images(model)
    model(problem.inputs)
    return problem


@modules.case
def partly_frozen() -> Problem:
    model = dense(nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    model[0].requires_grad_(False)
    model[4].bias.requires_grad_(False)
    return vectors(model)


@modules.case
def only_biases_trained() -> Problem:
    model = dense(nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    for name, p in model.named_parameters():
        p.requires_grad_(name.endswith("bias"))
    return vectors(model)


@modules.case
def module_that_is_its_own_child_twice() -> Problem:
    block = Residual(nn.Conv2d(8, 8, 3, padding=1))
    return images(convolutional(block, nn.ReLU(), block))


@modules.case
def callable_model_with_call_override() -> Problem:
    class Overridden(nn.Sequential):
        def __call__(self, x: Tensor) -> Tensor:
            return super().__call__(x * 2)

    model = Overridden(*dense(nn.ReLU()))
    return Problem(model=model, inputs=drawn(8, 6), targets=labels(), forward=call)


@modules.case
def weights_in_one_vector() -> Problem:
    """As after vector_to_parameters: the weights are disjoint parts of one vector."""
    model = dense(nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(model.parameters()), model.parameters())
    return vectors(model)
