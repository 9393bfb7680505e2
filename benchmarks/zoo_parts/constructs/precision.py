"""Dtypes, scales and initial values that make numbers hard."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Residual, convolutional, dense, images, vectors

precision = Group("precision")
initial = Group("initial values")


def _in(dtype: torch.dtype, problem: Problem) -> Problem:
    return replace(problem, model=problem.model.to(dtype), inputs=problem.inputs.to(dtype))


class MixedDtypes(nn.Module):
    """One layer in bfloat16, the others in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8, dtype=torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """Cast there and back."""
        return x + self.layer(x.to(self.layer.weight.dtype)).to(x.dtype)


class Scaled(nn.Module):
    """A fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return x * self.factor


DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
for _name, _dtype in DTYPES.items():
    precision.add(f"dense_in_{_name}", lambda d=_dtype: _in(d, vectors(dense(nn.LayerNorm(8), nn.ReLU()))))
    precision.add(
        f"convolution_in_{_name}", lambda d=_dtype: _in(d, images(convolutional(nn.GroupNorm(2, 8), nn.ReLU())))
    )
precision.add("layers_of_two_dtypes", lambda: vectors(dense(nn.ReLU(), MixedDtypes())))
precision.add("values_of_a_million", lambda: vectors(dense(nn.Tanh(), Scaled(1e6), nn.Linear(8, 8), nn.LayerNorm(8))))
precision.add(
    "values_of_a_millionth", lambda: vectors(dense(nn.Tanh(), Scaled(1e-6), nn.Linear(8, 8), nn.BatchNorm1d(8)))
)
precision.add("cancelling_offset", lambda: vectors(dense(lambda x: (x + 1e3) - 1e3, nn.LayerNorm(8))))
precision.add("nearly_constant_batch", lambda: _nearly_constant())
precision.add("sixty_layers", lambda: vectors(dense(*(m for _ in range(58) for m in (nn.Linear(8, 8), nn.Tanh())))))
precision.add(
    "sixty_residual_layers", lambda: vectors(dense(*(Residual(nn.Linear(8, 8)) for _ in range(60)), nn.LayerNorm(8)))
)


def _nearly_constant() -> Problem:
    """Batch norm over values that hardly differ."""
    problem = vectors(dense(nn.BatchNorm1d(8), nn.ReLU()).train())
    return replace(problem, inputs=1 + 1e-3 * problem.inputs)


def _initialised(change: Any) -> Problem:
    model = dense(nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    change(model)
    return vectors(model)


def _fixup(model: nn.Sequential) -> None:
    nn.init.zeros_(model[2].weight)


def _identity(model: nn.Sequential) -> None:
    nn.init.eye_(model[2].weight)
    nn.init.dirac_(torch.empty(8, 8, 3))


@initial.refused("the first step moves the head alone, which is no depth unit")
def head_of_zeros() -> Problem:
    model = dense(nn.ReLU())
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return vectors(model)


@initial.case
def residual_branches_of_zeros() -> Problem:
    branches = [nn.Sequential(nn.ReLU(), nn.Linear(8, 8)) for _ in range(2)]
    for branch in branches:
        nn.init.zeros_(branch[1].weight)
        nn.init.zeros_(branch[1].bias)
    return vectors(dense(*map(Residual, branches)))


initial.add("one_layer_of_zeros", _initialised, _fixup)
initial.add("identity_weights", _initialised, _identity)
initial.add("large_weights", _initialised, lambda m: [p.data.mul_(10) for p in m.parameters()])
initial.add("small_weights", _initialised, lambda m: [p.data.mul_(0.1) for p in m.parameters()])
initial.add("dead_units", _initialised, lambda m: m[2].bias.data[:4].fill_(-100))
