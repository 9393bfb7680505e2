"""Forwards with other tensors, against torch.func where that is right, and where one tensor has two names."""

import pytest
import torch
import untouched
from torch import Tensor, nn

from ammup.models.substitution import substituted

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class _TwoNames(nn.Module):
    """One block under two names, and one batch norm under two."""

    def __init__(self) -> None:
        super().__init__()
        self.a = self.b = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.norm = self.a[1]
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.b(self.a(x).relu())))


def _drawn(model: nn.Module) -> dict[str, Tensor]:
    """Other values for every parameter and buffer of floating point."""
    generator = torch.Generator().manual_seed(1)
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: torch.rand(t.shape, generator=generator) for name, t in named if t.is_floating_point()}


def test_the_forward_is_that_of_functional_call_where_each_tensor_has_one_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    tensors = _drawn(model)
    with untouched.left_as_they_were([model]), substituted(model, tensors):
        found = model(X)
    assert torch.equal(found, torch.func.functional_call(model, tensors, (X,)))
    assert not torch.equal(found, model(X))


def test_gradients_reach_the_replacements() -> None:
    model = nn.Linear(4, 1)
    weight = torch.zeros(1, 4, requires_grad=True)
    with substituted(model, {"weight": weight}):
        model(X).sum().backward()
    torch.testing.assert_close(weight.grad, X.sum(0, keepdim=True))
    assert model.weight.grad is None


def test_every_name_is_reached_and_ends_with_the_originals() -> None:
    model = _TwoNames().eval()  # batch norm keeps its statistics
    replaced = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    with untouched.left_as_they_were([model]):
        with substituted(model, replaced):
            assert model.b[0].weight is model.a[0].weight is replaced["a.0.weight"]
            assert model.norm.weight is model.a[1].weight is replaced["a.1.weight"]
            assert not model(X).any()
        with pytest.raises(ZeroDivisionError), substituted(model, replaced):
            raise ZeroDivisionError


def test_an_unknown_name_changes_nothing() -> None:
    model = nn.Linear(4, 1)
    with untouched.left_as_they_were([model]), pytest.raises(KeyError, match="wieght"):
        substituted(model, {"bias": torch.zeros(1), "wieght": torch.zeros(1, 4)}).__enter__()
