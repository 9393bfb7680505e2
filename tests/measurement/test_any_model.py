"""S_l of models that are not from the library, compared with a true step of the optimizer in float64."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.measurement import forward_mode
from ammup.models.flow import observed
from ammup.models.streams import seeded

LR = 1e-7
CALL = lambda model, inputs: model(inputs)  # noqa: E731


class Norms(nn.Module):
    """A net with batch, group and layer norm, dropout, an in-place residual sum, tied and frozen weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.batch, self.group, self.layer = nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.LayerNorm([8, 6, 6])
        self.a, self.b, self.tied = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.tied.weight = self.b.weight
        self.frozen = nn.Conv2d(8, 8, 1)
        self.frozen.requires_grad_(False)
        self.dropout, self.out = nn.Dropout(0.3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        z = self.stem(x)
        h = self.dropout(self.a(torch.relu(self.batch(z))))
        h += z
        h = h + self.b(self.group(h).relu())
        h = self.frozen(self.tied(self.layer(h).relu_()))
        return self.out(h.relu().mean((2, 3)))


class Mixed(nn.Module):
    """A net with attention that takes token indices and features and returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.features = nn.Embedding(7, 8), nn.Linear(3, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.out = nn.Linear(8, 4)

    def forward(self, tokens: Tensor, features: Tensor) -> dict[str, Tensor]:
        z = self.tokens(tokens) + self.features(features)[:, None]
        z = z + self.attention(z, z, z, need_weights=False)[0]
        return {"logits": self.out(self.encoder(z).mean(1))}


def _images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3])


def _norms() -> Norms:
    with seeded("norms"):
        return Norms()


def _true_moments(
    model: nn.Module,
    inputs: object,
    targets: Tensor,
    optimizer: Callable,
    units: tuple[str, ...],
    *,
    forward: Callable = CALL,
    seed: object = 0,
) -> np.ndarray:
    """Mean squares of the units' changes in one step at a tiny learning rate, divided by its square."""
    model = copy.deepcopy(model).double()
    stepped = optimizer([p for p in model.parameters() if p.requires_grad], LR)

    def run() -> tuple[dict[str, Tensor], Tensor]:
        values: dict[str, Tensor] = {}
        record = lambda name, z: values.__setitem__(name, z.detach().clone())  # noqa: E731
        with seeded("masks", seed), observed(model, units, record):
            outputs = forward(model, inputs)
        return values, outputs

    before, outputs = run()
    F.cross_entropy(outputs, targets).backward()
    stepped.step()
    after, _ = run()
    return np.array([float(((after[unit] - before[unit]) / LR).square().mean()) for unit in units])


OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": torch.optim.Adam,
    "adamw": lambda params, lr: torch.optim.AdamW(params, lr, weight_decay=0.01),
    "rmsprop": torch.optim.RMSprop,
}


# Not Adam in training mode: the gradient of a bias before batch norm is only rounding error, and Adam divides it by its
# own size.
@pytest.mark.parametrize(
    ("name", "training"), [*((name, False) for name in OPTIMIZERS), ("sgd", True), ("momentum", True)]
)
def test_moments_equal_those_of_a_true_step_for_any_optimizer(name: str, training: bool) -> None:
    model = _norms().train(training).double()
    images, labels = _images()
    optimizer = None if name == "sgd" else OPTIMIZERS[name]
    moments = ammup.measure_updates(model, images.double(), labels, loss="cross_entropy", optimizer=optimizer)
    assert moments.units == (":add", ":add_2", "tied", "frozen")
    expected = _true_moments(model, images.double(), labels, OPTIMIZERS[name], moments.units)
    np.testing.assert_allclose(moments.S, expected, rtol=2e-3)


def test_model_with_several_inputs_dict_outputs_and_attention() -> None:
    with seeded("mixed"):
        model = Mixed().double()
    tokens, features = (
        torch.tensor([[1, 2, 3], [4, 5, 6]]),
        torch.randn(2, 3, generator=torch.Generator().manual_seed(1)),
    )
    call = lambda model, pair: model(*pair)["logits"]  # noqa: E731
    inputs, labels = (tokens, features.double()), torch.tensor([0, 1])
    moments = ammup.measure_updates(model, inputs, labels, loss="cross_entropy", forward=call)
    assert moments.units[0] == ":add_2"
    expected = _true_moments(model, inputs, labels, torch.optim.SGD, moments.units, forward=call)
    np.testing.assert_allclose(moments.S, expected, rtol=2e-3)
    law = ammup.depth_exponent(
        lambda depth: nn.Sequential(*(nn.Linear(3, 3) for _ in range(depth + 1))),
        [2, 4],
        inputs=(features,),
        targets=labels,
        loss="cross_entropy",
        forward=lambda model, one: model(one[0]),
        optimizer=torch.optim.Adam,
        seeds=3,
    )
    assert law.units == {2: 2, 4: 4}


def _two_groups(params: list[Tensor], lr: float) -> torch.optim.Optimizer:
    """SGD whose learning rate for biases and norms is twice that for weights."""
    groups = [[p for p in params if p.ndim > 1], [p for p in params if p.ndim < 2]]
    return torch.optim.SGD([{"params": group, "lr": lr * (1 + i)} for i, group in enumerate(groups)], momentum=0.9)


def test_next_step_of_an_optimizer_with_a_scheduler_in_the_middle_of_training() -> None:
    model = _norms().train().double()
    images, labels = _images()
    optimizer = _two_groups([p for p in model.parameters() if p.requires_grad], 0.01)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(images.double()), labels).backward()
        optimizer.step()
        scheduler.step()
    state = copy.deepcopy(optimizer.state_dict())
    moments = ammup.measure_updates(model, images.double(), labels, loss="cross_entropy", optimizer=optimizer)
    assert repr(optimizer.state_dict()) == repr(state)

    def resumed(params: list[Tensor], lr: float) -> torch.optim.Optimizer:
        other = _two_groups(params, lr)
        groups = other.state_dict()["param_groups"]
        other.load_state_dict({"state": state["state"], "param_groups": groups})
        return other

    expected = _true_moments(model, images.double(), labels, resumed, moments.units)
    np.testing.assert_allclose(moments.S, expected, rtol=5e-3)


def test_training_continues_as_if_nothing_had_been_measured() -> None:
    """Kind of Lightning-AI/pytorch-lightning#12670: a search for the learning rate leaves another schedule."""
    images, labels = _images()

    def trained(measure: Callable[[nn.Module, torch.optim.Optimizer], object]) -> list[Tensor]:
        torch.manual_seed(0)
        model = _norms().train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=6)
        for step in range(6):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            if step == 3:
                measure(model, optimizer)
            optimizer.step()
            scheduler.step()
        return [*model.parameters(), *model.buffers(), torch.tensor(optimizer.param_groups[0]["lr"])]

    def all_of_them(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        ammup.measure_updates(model, images, labels, loss="cross_entropy", optimizer=optimizer)
        ammup.maximal_lr(model, images, labels, loss="mse")
        ammup.check_finite_step(model, images, labels, lr=0.1, loss="cross_entropy")
        ammup.param_groups(model, 0.1, rule="per-unit", inputs=images, targets=labels, loss="mse")
        ammup.UpdateLogger(model, every=1, loss="cross_entropy", optimizer=optimizer)(0, images, labels)

    for found, expected in zip(trained(all_of_them), trained(lambda *_: None), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_moments_of_models_in_half_precision_are_close_to_those_in_float32(dtype: torch.dtype) -> None:
    with seeded("half"):
        model = nn.Sequential(
            nn.Linear(16, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)
        )
    inputs, labels = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    full = ammup.measure_updates(model, inputs, labels, loss="cross_entropy")
    half = ammup.measure_updates(model.to(dtype), inputs, labels, loss="cross_entropy")
    np.testing.assert_allclose(half.S, full.S, rtol=0.1)


@pytest.mark.skipif(
    not forward_mode._group_norm_supports_channels_last(),
    reason="group norm of this torch has no forward-mode rule for channels_last",
)
def test_moments_are_the_same_in_channels_last() -> None:
    images, labels = _images()
    model = _norms().eval()
    contiguous = ammup.measure_updates(model, images, labels, loss="cross_entropy")
    channels_last = ammup.measure_updates(
        model.to(memory_format=torch.channels_last),
        images.contiguous(memory_format=torch.channels_last),
        labels,
        loss="cross_entropy",
    )
    np.testing.assert_allclose(channels_last.S, contiguous.S, rtol=1e-5)


class Failing(Norms):
    """Raises from its third forward on, after the passes for the data flow and for the gradient."""

    runs = 0  # on the class, because attributes of the module are restored after a forward

    def forward(self, x: Tensor) -> Tensor:
        Failing.runs += 1
        if Failing.runs >= 3:
            raise RuntimeError("out of luck")
        return super().forward(x)


def _complete_state(model: nn.Module) -> list[object]:
    """The state of the model and the global state of torch."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    flags = [(m.training, type(m)) for m in model.modules()]
    tensors = {name: (tensor.clone(), tensor.dtype, tensor.stride()) for name, tensor in model.state_dict().items()}
    grads = [(p.requires_grad, None if p.grad is None else p.grad.clone(), p._version) for p in model.parameters()]
    return [hooks, flags, tensors, grads, torch.get_rng_state(), torch.is_grad_enabled(),
            torch.backends.mha.get_fastpath_enabled()]  # fmt: skip


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return a == b


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_model_optimizer_and_global_state_are_restored(training: bool, fails: bool) -> None:
    images, labels = _images()
    with seeded("failing"):
        model = (Failing if fails else Norms)().train(training)
    Failing.runs = 0
    F.cross_entropy(Norms.forward(model, images), labels).backward()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    optimizer.step()
    before, state = _complete_state(model), copy.deepcopy(optimizer.state_dict())
    if fails:
        with pytest.raises(InputError, match=r"Failing cannot be run on inputs of shape .*out of luck"):
            ammup.measure_updates(model, images, labels, loss="cross_entropy", optimizer=optimizer)
    else:
        ammup.measure_updates(model, images, labels, loss="cross_entropy", optimizer=optimizer)
    assert _same(_complete_state(model), before)
    assert _same(optimizer.state_dict(), state)


def test_measurement_inside_no_grad() -> None:
    images, labels = _images()
    model = _norms().eval()
    outside = ammup.measure_updates(model, images, labels, loss="cross_entropy")
    with torch.no_grad():
        inside = ammup.measure_updates(model, images, labels, loss="cross_entropy")
        assert not torch.is_grad_enabled()
    np.testing.assert_allclose(inside.S, outside.S, rtol=1e-6)


class _Quadratic(torch.optim.Optimizer):
    """An optimizer whose step is proportional to the square of its learning rate."""

    def __init__(self, params: object, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] ** 2 * p.grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": _Quadratic}, "not proportional to its learning rate"),
        ({"optimizer": lambda params, lr: None}, "returned NoneType; it must return a torch.optim.Optimizer"),
        ({"optimizer": lambda params, lr: torch.optim.SGD(params, -lr)}, "the optimizer failed.*Invalid learning rate"),
        ({"optimizer": torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)}, "none of the model's parameters"),
        ({"optimizer": torch.optim.SGD, "part": "label", "loss": "mse"}, "part='label' of an optimizer's step"),
        ({"units": ["stem", "nowhere:add"]}, "not in the model: .'nowhere:add'"),
        ({"units": ["stem", ":add_9"]}, r"units \[':add_9'\] did not run exactly once"),
    ],
)
def test_invalid_optimizers_and_units_are_rejected(options: dict, message: str) -> None:
    images, labels = _images()
    with pytest.raises(InputError, match=message):
        ammup.measure_updates(_norms(), images, labels, **{"loss": "cross_entropy", **options})
