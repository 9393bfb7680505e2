"""The dense step compared with autograd and torch.optim.SGD for every replica, and the models without one."""

from functools import partial

import pytest
import torch
from naive_training import NETS
from torch import nn
from torch.nn import functional as F

import ammup
from ammup.training import dense
from ammup.training.dense import DenseStep, dense_step
from ammup.training.runs import Training

PLAIN = Training(dtype="float64")
LRS = [0.05, 0.7, 2.0]


def _mlp(activation: str, depth: int = 3, seed: int = 0) -> nn.Module:
    return ammup.mlp(depth, width=7, in_features=12, out_features=4, activation=activation, seed=seed).double()


def _stack(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().expand(len(LRS), *p.shape).clone() for name, p in model.named_parameters()}


def _step(model: nn.Module, training: Training = PLAIN) -> DenseStep | None:
    return dense_step(model, training, _stack(model), torch.tensor(LRS))


@pytest.mark.parametrize("part_bytes", [0, 2 * 25 * 5 * 8, dense.PART_BYTES], ids=["one", "two", "all"])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "gelu", "linear"])
def test_steps_equal_those_of_autograd_and_sgd(
    activation: str, depth: int, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of one, two and one, and three replicas; the last minibatch is smaller, as in an epoch."""
    monkeypatch.setattr(dense, "PART_BYTES", part_bytes)
    torch.manual_seed(0)
    sizes = (5, 5, 3, 5)
    batches = [(torch.randn(size, 3, 2, 2, dtype=torch.float64), torch.randint(4, (size,))) for size in sizes]
    model = _mlp(activation, depth)
    stack = _stack(model)
    step = dense_step(model, PLAIN, stack, torch.tensor(LRS, dtype=torch.float64))
    assert step is not None
    losses = [step(x, y) for x, y in batches]
    for row, lr in enumerate(LRS):
        naive = _mlp(activation, depth)
        sgd = torch.optim.SGD(naive.parameters(), lr=lr)
        for i, (x, y) in enumerate(batches):
            sgd.zero_grad()
            loss = F.cross_entropy(naive(x), y)
            loss.backward()
            sgd.step()
            assert float(losses[i][row]) == pytest.approx(float(loss.detach()), rel=1e-12)
        for name, parameter in naive.named_parameters():
            torch.testing.assert_close(stack[name][row], parameter.detach(), rtol=1e-11, atol=1e-13)


def _subclassed() -> nn.Module:
    net = _mlp("relu")
    net.__class__ = type("Subclass", (type(net),), {})
    return net


def _with_hook() -> nn.Module:
    net = _mlp("relu")
    net.layers[1].register_forward_hook(lambda module, inputs, output: output)
    return net


def _with_bias() -> nn.Module:
    net = _mlp("relu")
    net.layers[1] = nn.Linear(7, 7)
    return net


def _with_other_activation() -> nn.Module:
    net = _mlp("relu")
    net.activation = nn.Tanh()
    return net


def _frozen() -> nn.Module:
    net = _mlp("relu")
    net.layers[1].weight.requires_grad_(False)
    return net


OTHERS = {
    "subclass": _subclassed,
    "hook": _with_hook,
    "bias": _with_bias,
    "activation": _with_other_activation,
    "frozen": _frozen,
    "tied": partial(NETS["mlp, tied"], 3, 0),
    "cnn": partial(ammup.cnn, 2, width=4),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_have_no_dense_step(name: str) -> None:
    assert _step(OTHERS[name]()) is None


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"weight_decay": 0.1}, {"dtype": "bfloat16"}])
def test_other_training_has_no_dense_step(options: dict) -> None:
    assert _step(_mlp("relu")) is not None
    assert _step(_mlp("relu"), Training(**options)) is None
