"""The stream without gates, and its longest and shortest paths, on small modules whose stream is known."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.models.flow import recorded
from ammup.models.main_path import MainPath
from ammup.models.reachability import Reachability

X = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


class _Gate(nn.Module):
    """Three layers, two of which may be a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))


class _SqueezeExcite(_Gate):
    def forward(self, x: Tensor) -> Tensor:
        z = torch.relu(self.a(x))
        return z * self.c(torch.relu(self.b(z.mean(1, keepdim=True)))).sigmoid()


class _Clipped(_Gate):
    """The stream is bounded too."""

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu6(self.a(x))
        return z * ((self.c(torch.relu(self.b(z))) + 3).clamp(0, 6) / 6)


class _Attention(_Gate):
    def forward(self, x: Tensor) -> Tensor:
        weights = (self.b(x) @ self.c(x).mT).softmax(-1)
        return F.dropout(weights, 0.0) @ self.a(x)


class _FusedAttention(_Gate):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.b(x), self.c(x), self.a(x))


class _TalkingHeads(_Gate):
    def forward(self, x: Tensor) -> Tensor:
        weights = self.b((x[:, :4] @ x.mT[..., :4]).softmax(-1))
        return self.c(weights) @ self.a(x)[:, :4]


@pytest.mark.parametrize("kind", [_SqueezeExcite, _Clipped, _Attention, _FusedAttention, _TalkingHeads])
def test_gates_are_not_on_the_stream(kind: type[nn.Module]) -> None:
    assert _layers(kind()) == {"a"}


class _Gated(_Gate):
    """Both factors have weights (GLU)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.a(x) * self.b(x).sigmoid())


class _Bilinear(_Gate):
    """The factor with weights is not bounded."""

    def forward(self, x: Tensor) -> Tensor:
        z = self.a(x)
        return z * self.c(torch.relu(self.b(z)))


@pytest.mark.parametrize("kind", [_Gated, _Bilinear])
def test_factors_that_are_not_gates_are_on_the_stream(kind: type[nn.Module]) -> None:
    assert _layers(kind()) == {"a", "b", "c"}


def _main_path(model: nn.Module) -> tuple[MainPath, dict[int, str]]:
    flow = recorded(model, [X], lambda: model(X))
    output = next(i for i, operation in enumerate(flow) if operation.output == 0)
    layers = {i: operation.layer for i, operation in enumerate(flow) if operation.layer is not None}
    return MainPath(flow, Reachability(operation.sources for operation in flow), output), layers


def _layers(model: nn.Module) -> set[str]:
    path, layers = _main_path(model)
    return {layers[i] for i in path.members() if i in layers}


class _Parallel(nn.Module):
    """Branches of one and of two layers, which are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two, self.three = (nn.Linear(4, 4) for _ in range(4))
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        z = self.stem(x)
        return self.out(torch.cat([self.one(z), self.three(self.two(z))], -1))


def test_the_longest_and_the_shortest_path_count_one_of_the_parallel_branches() -> None:
    path, layers = _main_path(_Parallel())
    assert [layers[i] for i in path.longest(layers)] == ["stem", "two", "three", "out"]
    assert [layers[i] for i in path.shortest(layers)] == ["stem", "one", "out"]
    (only,) = [i for i in layers if layers[i] == "three"]
    assert (path.longest([only]), path.shortest([only])) == ([only], [])
