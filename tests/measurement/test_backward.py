"""Gradients of weights, compared with those that a training step accumulates."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ammup.measurement.backward import has_reentrant_checkpoints, weight_gradients

X = torch.randn((3, 4), generator=torch.Generator().manual_seed(0))


def _net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


@pytest.mark.parametrize("accumulate", [True, False])
def test_gradients_of_several_residuals_equal_accumulated_ones(accumulate: bool) -> None:
    net, rows = _net(), [torch.ones(3, 2), torch.arange(6.0).reshape(3, 2)]
    weights = dict(net.named_parameters())
    outputs = net(X)
    gradients = weight_gradients([(outputs, row) for row in rows], weights, accumulate=accumulate)
    assert all(w.grad is None for w in weights.values())
    for row, by_name in zip(rows, gradients, strict=True):
        net.zero_grad()
        net(X).backward(row)
        for name, w in weights.items():
            torch.testing.assert_close(by_name[name], w.grad)


def test_frozen_and_unused_weights_have_zero_gradients_and_sparse_ones_become_dense() -> None:
    embedding, unused, frozen = nn.Embedding(5, 2, sparse=True), nn.Linear(2, 2), nn.Linear(2, 2)
    frozen.requires_grad_(False)
    weights = {"embedding": embedding.weight, "unused": unused.weight, "frozen": frozen.weight}
    loss = frozen(embedding(torch.tensor([1, 3]))).sum()
    (gradients,) = weight_gradients([(loss, None)], weights, accumulate=False)
    assert gradients["embedding"].layout == torch.strided
    assert gradients["embedding"].any(dim=1).tolist() == [False, True, False, True, False]
    assert not gradients["unused"].any()
    assert not gradients["frozen"].any()


def test_hooks_on_the_accumulation_change_the_gradients() -> None:
    weight = nn.Parameter(torch.ones(2))

    def multiply(w: torch.Tensor) -> None:
        w.grad.mul_(10)

    weight.register_post_accumulate_grad_hook(multiply)
    (gradients,) = weight_gradients([((2 * weight).sum(), None)], {"w": weight}, accumulate=False)
    assert gradients["w"].tolist() == [20.0, 20.0]


@pytest.mark.parametrize("reentrant", [True, False])
def test_only_reentrant_checkpoints_are_detected(reentrant: bool) -> None:
    net, x = _net(), X.clone().requires_grad_()
    outputs = {"logits": [net[2](checkpoint(net[:2], x, use_reentrant=reentrant))]}
    assert has_reentrant_checkpoints(outputs) == reentrant
