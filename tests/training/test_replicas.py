"""The sweep kernel against a naive loop of plain PyTorch, replica by replica."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup.data.dataset import Data
from ammup.data.minibatches import Feed
from ammup.errors import InputError
from ammup.models.factory import build_model
from ammup.models.nets import CNN
from ammup.models.streams import random_stream, seeded
from ammup.training import plan
from ammup.training.loop import LoopTrainer, SingleReplica
from ammup.training.plan import Plan
from ammup.training.replicas import TRAINERS, choose_strategy
from ammup.training.runs import Training
from ammup.training.stacked import StackedReplicas, StackedTrainer
from ammup.training.trainer import Trainer

LRS = [0.01, 0.3, 3.0]
# Ends in NaN, but for nets with batch norm: the variance of their activations overflows, which torch's kernels meet
# each in its own way.
TOO_LARGE = 1e30
STEPS = 10


@pytest.fixture(scope="module")
def data() -> Data:
    return ammup.load_data("synthetic", image_size=8, train=16 * STEPS - 5, validation=50)


def _mlp(depth: int, seed: int, **options: str) -> nn.Module:
    return ammup.mlp(depth, width=12, in_features=192, seed=seed, **options)


def _user_net(depth: int, seed: int) -> nn.Module:
    """Not one of ours: view() refuses channels_last, BatchNorm2d has running statistics."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(6 if i else 3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.GELU()]
    return nn.Sequential(*layers, _View(), nn.Linear(6 * 64, 10))


def _frozen_net(depth: int, seed: int) -> nn.Module:
    net = ammup.cnn(depth, width=6, seed=seed)
    for parameter in net.layers[1].parameters():
        parameter.requires_grad_(False)
    return net


def _tied(depth: int, seed: int) -> nn.Module:
    net = _mlp(depth, seed)
    net.layers[2].weight = net.layers[1].weight
    return net


class _Doubled(CNN):
    """A subclass of ours with a forward of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def _subclass(depth: int, seed: int) -> nn.Module:
    net = ammup.cnn(depth, width=6, seed=seed)
    net.__class__ = _Doubled
    return net


def _hooked(depth: int, seed: int) -> nn.Module:
    net = ammup.resnet(depth, width=6, seed=seed)
    net.blocks[1].register_forward_hook(lambda module, inputs, output: 0.5 * output)
    return net


class _View(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), -1)


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mean(2)


def _pooled_field(depth: int, seed: int, **options: object) -> nn.Module:
    net = ammup.cnn(depth, width=6, head="field", seed=seed, **options)
    net.readout = nn.Sequential(net.readout, _Mean())
    return net


NETS: dict[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    "cnn": partial(ammup.cnn, width=6),
    "cnn, rectangle": partial(ammup.cnn, width=6, kernel=(5, 3)),
    "cnn, even": partial(ammup.cnn, width=6, kernel=2),
    "cnn, offsets": partial(ammup.cnn, width=6, kernel=[(0, 0), (0, 1), (-2, 0)]),
    "cnn, dilated": partial(ammup.cnn, width=6, dilation=2, groups=3, activation="gelu", in_channels=3),
    "cnn, zero": partial(ammup.cnn, width=6, padding="zero"),
    "cnn, 1d": partial(ammup.cnn, width=6, dims=1),
    "cnn, 1d, zero, gelu": partial(ammup.cnn, width=6, dims=1, padding="zero", activation="gelu"),
    "cnn, 1d, offsets": partial(ammup.cnn, width=6, dims=1, kernel=[(0,), (2,), (-1,)], activation="gelu"),
    "cnn, 1d, zero, offsets": partial(ammup.cnn, width=6, dims=1, kernel=[(0,), (2,)], padding="zero"),
    "cnn, 1d, even, field": partial(_pooled_field, dims=1, kernel=4, activation="linear"),
    "cnn, zero, offsets": partial(ammup.cnn, width=6, kernel=[(0, 0), (1, 2)], padding="zero", activation="gelu"),
    "resnet": partial(ammup.resnet, width=6),
    "resnet, gelu": partial(ammup.resnet, width=6, activation="gelu", branch=("conv", "dense"), batchnorm=True),
    "resnet, zero": partial(ammup.resnet, width=6, padding="zero", dropout=0.3, projections=(2,)),
    "resnet, 1d, dropout": partial(ammup.resnet, width=6, dims=1, dropout=0.3, projections=(1, 3), dilation=2),
    "resnet, 1d": partial(ammup.resnet, width=6, dims=1, batchnorm=True),
    "resnet, batch norm": partial(ammup.resnet, width=6, batchnorm=True),
    "resnet, dropout": partial(ammup.resnet, width=6, dropout=0.3),
    "resnet, both": partial(ammup.resnet, width=6, dropout=0.3, batchnorm=True, branch=1),
    "user": _user_net,
    "frozen layer": _frozen_net,
    "mlp, tied": _tied,
    "mlp, gelu": partial(_mlp, activation="gelu"),
    "mlp, linear": partial(_mlp, activation="linear"),
    "a subclass of ours": _subclass,
    "ours with a hook": _hooked,
}


def _feed(data: Data, *, batch_size: int = 16, dtype: torch.dtype = torch.float64, **kwargs: object) -> Feed:
    return Feed(data, batch_size=batch_size, device="cpu", dtype=dtype, **kwargs)


Naive = tuple[dict[str, torch.Tensor], list[float]]
_KNOWN: dict[tuple[object, ...], tuple[Data, Naive]] = {}  # both strategies are compared with it


def _naive(name: str, data: Data, lr: float, seed: int, **options: float) -> Naive:
    key = (name, id(data), lr, seed, *sorted(options.items()))
    if key not in _KNOWN:
        _KNOWN[key] = (data, _trained_naively(name, data, lr, seed, **options))
    return _KNOWN[key][1]


def _trained_naively(name: str, data: Data, lr: float, seed: int, *, momentum: float, weight_decay: float) -> Naive:
    """What anybody would write, in float64."""
    model = build_model(NETS[name], 3, seed).double()
    images = torch.tensor(data.train_images / 255.0).permute(0, 3, 1, 2)
    mean = images.mean((0, 2, 3), keepdim=True)
    images = ((images - mean) / (images - mean).square().mean((0, 2, 3), keepdim=True).sqrt()).contiguous()
    labels = torch.tensor(data.train_labels)
    sgd = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    order = torch.randperm(len(images), generator=random_stream("minibatches", seed, 0))
    losses = []
    with seeded("training", seed):
        for rows in order.split(16):
            sgd.zero_grad()
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            losses.append(float(loss.detach()))
            if math.isnan(losses[-1]):
                break
            loss.backward()
            sgd.step()
    return model.state_dict(), losses


def _normalizes(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


MOMENTUM = {"momentum": 0.9, "weight_decay": 0.01}
CASES = [*((name, {}) for name in NETS), *((name, MOMENTUM) for name in ("mlp", "resnet, both", "frozen layer"))]


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_both_strategies_are_the_naive_loop(name: str, strategy: str, options: dict[str, float], data: Data) -> None:
    options = {"momentum": 0.0, "weight_decay": 0.0} | options
    build = partial(build_model, NETS[name], 3)
    trainer: Trainer = TRAINERS[strategy](build, _feed(data), Training(batch_size=16, dtype="float64", **options))
    lrs = LRS if _normalizes(build(0)) else [*LRS, TOO_LARGE]
    for seed in (0, 5):
        for lr, trained in zip(lrs, trainer.train(lrs, seed), strict=True):
            weights, losses = _naive(name, data, lr, seed, **options)
            finite = [loss for loss in losses if not math.isnan(loss)]
            assert len(trained.losses) == len(finite)
            if math.isnan(trained.val_loss):
                assert len(finite) < STEPS or any(value.isnan().any() for value in weights.values())
            else:
                np.testing.assert_allclose(trained.losses, finite, rtol=1e-10)
                for key, value in weights.items():
                    if name == "mlp, tied" and key not in trained.weights:
                        continue  # a stack holds it once
                    error = (trained.weights[key] - value).double().abs().max() / value.double().abs().max()
                    assert error < 1e-10, key


@pytest.mark.parametrize("name", ["cnn", "cnn, offsets", "resnet, batch norm", "mlp"])
def test_bfloat16_rounds_activations_and_not_weights(name: str, data: Data) -> None:
    """Losses agree to three digits or so, and weights move by less than bfloat16 could say."""
    build = partial(build_model, NETS[name], 3)
    losses = {}
    for strategy, dtype in (("loop", "float32"), ("loop", "bfloat16"), ("stacked", "bfloat16")):
        if strategy == "stacked" and "norm" in name:
            continue  # torch.func has no batch norm of bfloat16 activations with float32 statistics
        trainer = TRAINERS[strategy](build, _feed(data, dtype=torch.float32), Training(batch_size=16, dtype=dtype))
        (trained,) = trainer.train([1e-5], 0)
        losses[strategy, dtype] = trained.losses
        assert all(w.dtype == torch.float32 for w in trained.weights.values() if w.is_floating_point())
        start = dict(build(0).named_parameters())
        moved = [(trained.weights[key] - value).abs().max() > 0 for key, value in start.items()]
        assert all(moved)
    exact = losses.pop(("loop", "float32"))
    for rounded in losses.values():
        assert not torch.equal(rounded, exact)
        np.testing.assert_allclose(rounded, exact, rtol=0.02)


def test_large_activations_pass_in_micro_batches_with_the_same_gradient(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MICRO_BATCH_BYTES", {"cpu": 5 * 6 * 64 * 8, "cuda": 0})  # five images of 6×8×8 doubles
    for name, expected in (("cnn", 4), ("user", 16), ("resnet, dropout", 16), ("resnet, batch norm", 16)):
        build = partial(build_model, NETS[name], 3)
        trainer = LoopTrainer(build, _feed(data), Training(batch_size=16, dtype="float64"))
        (trained,) = trainer.train([0.1], 0)
        assert trainer.plan is not None
        assert trainer.plan.micro_batch == expected, name
        weights, _ = _naive(name, data, 0.1, 0, momentum=0.0, weight_decay=0.0)
        for key, value in weights.items():
            torch.testing.assert_close(trained.weights[key].contiguous(), value, rtol=1e-10, atol=1e-12)


def test_the_plan_finds_what_a_model_bears(data: Data) -> None:
    batch = next(_feed(data).training_batches(0, 1))
    formats = {
        name: Plan.from_model(NETS[name](3, seed=0).double(), batch, Training()).memory_format
        for name in ("cnn", "user", "resnet, dropout")
    }
    assert formats["cnn"] == torch.channels_last
    assert formats["user"] == torch.contiguous_format  # view()
    assert formats["resnet, dropout"] == torch.channels_last  # our own draws masks in one order
    dropping = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10)).double()
    before = {name: value.clone() for name, value in dropping.state_dict().items()}
    assert Plan.from_model(dropping, batch, Training()).memory_format == torch.contiguous_format
    for name, value in dropping.state_dict().items():
        assert torch.equal(value, before[name])


def test_runs_say_what_became_of_each_replica(data: Data) -> None:
    lrs = [0.3, 1e30]
    runs = {
        strategy: ammup.train_replicas(
            NETS["cnn"], 3, lrs=lrs, seeds=[0, 1], data=data, batch_size=16, strategy=strategy, dtype="float64"
        )
        for strategy in ("loop", "stacked")
    }
    for ours, theirs in zip(runs["loop"], runs["stacked"], strict=True):
        assert (ours.lr, ours.seed, ours.depth) == (theirs.lr, theirs.seed, theirs.depth)
        assert (ours.diverged, ours.steps) == (theirs.diverged, theirs.steps)
        assert ours.val_accuracy == theirs.val_accuracy or ours.diverged
        np.testing.assert_allclose(ours.val_loss, theirs.val_loss, rtol=1e-10)
        np.testing.assert_allclose(ours.curve, theirs.curve, rtol=1e-10)
    good, lost = runs["loop"][:2]
    assert not good.diverged
    assert 0 <= good.val_accuracy <= 1
    assert (good.steps, len(good.curve), good.curve[-1][0]) == (STEPS, STEPS, STEPS)
    assert lost.diverged
    assert lost.steps < STEPS
    assert math.isnan(lost.val_accuracy)
    assert math.isnan(lost.train_loss)
    assert good.seconds > 0
    assert good.images_per_second > 0


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_a_lost_replica_costs_nothing_more(strategy: str, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []  # replicas in each step
    if strategy == "loop":
        step = SingleReplica.step
        monkeypatch.setattr(SingleReplica, "step", lambda *a: steps.append(1) or step(*a))
    else:
        step = StackedReplicas.step
        monkeypatch.setattr(StackedReplicas, "step", lambda *a: steps.append(len(a[0].active)) or step(*a))
    lost, good = TRAINERS[strategy](
        partial(build_model, NETS["cnn"], 3), _feed(data), Training(batch_size=16, dtype="float64")
    ).train([TOO_LARGE, 0.1], 0)
    assert (len(lost.losses) < STEPS, len(good.losses)) == (True, STEPS)
    assert sum(steps) == len(lost.losses) + 1 + STEPS


@pytest.mark.parametrize("name", ["cnn", "resnet, both"])
@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_training_in_parts_is_training_in_one_go_to_the_bit(strategy: str, name: str, data: Data) -> None:
    """Dropout masks, batch norm's statistics and the order of minibatches included; others begin later and are left."""
    rates, training = [0.02, TOO_LARGE, 0.1, 0.3], Training(batch_size=16, momentum=0.9)
    trainer = TRAINERS[strategy](partial(build_model, NETS[name], 3), _feed(data, dtype=torch.float32), training)
    whole = dict(zip(rates, trainer.train(rates, 0), strict=True))
    torch.manual_seed(7)
    session = trainer.begin(0)
    session.advance([0.02, TOO_LARGE, 0.1], 2)
    torch.rand(3)  # somebody else's
    losses = session.advance([0.3, 0.1, TOO_LARGE], 3)
    assert [len(one) for one in losses] == [3, 3, len(whole[TOO_LARGE].losses)]
    session.advance([0.3, 0.1], STEPS)
    for lr, part in zip([0.3, 0.1], session.trained([0.3, 0.1], validate=True), strict=True):
        # A stack of other replicas adds in another order.
        same = {} if strategy == "loop" else {"rtol": 1e-4, "atol": 1e-6}
        for weight, tensor in part.weights.items():
            torch.testing.assert_close(tensor, whole[lr].weights[weight], **(same or {"rtol": 0, "atol": 0}))
        torch.testing.assert_close(part.losses, whole[lr].losses, **(same or {"rtol": 0, "atol": 0}))
        assert part.val_accuracy == pytest.approx(whole[lr].val_accuracy, abs=0 if strategy == "loop" else 0.05)
        assert part.seconds > 0


def test_streamed_images_train_to_the_bits_of_resident_ones(data: Data) -> None:
    """A loader of torch draws from the generator that dropout's masks come from, if it is let."""
    training, found = Training(batch_size=16), []
    for resident in (True, False):
        feed = Feed(data, batch_size=16, device="cpu", dtype=torch.float32, resident=resident, loader_workers=0)
        session = LoopTrainer(partial(build_model, NETS["resnet, both"], 3), feed, training).begin(0)
        session.advance([0.1], 4)
        found.append(session.advance([0.1], STEPS)[0])
    assert torch.equal(*found)


def test_validation_is_the_naive_one(data: Data) -> None:
    """In evaluation mode: running statistics, no dropout."""
    name = "resnet, both"
    (run,) = ammup.train_replicas(
        NETS[name], 3, lrs=[0.1], seeds=[0], data=data, batch_size=16, dtype="float64", strategy="loop"
    )
    model = build_model(NETS[name], 3, 0).double()
    weights, _ = _naive(name, data, 0.1, 0, momentum=0.0, weight_decay=0.0)
    model.load_state_dict(weights)
    model.eval()
    mean, deviation = data.standardization()
    images = torch.tensor((data.val_images / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(data.val_labels)
    with torch.no_grad():
        logits = model(images)
    assert run.val_loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-10)
    assert run.val_accuracy == float((logits.argmax(1) == labels).double().mean())


def test_stacks_are_bounded_by_memory_and_change_nothing(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    build = partial(build_model, NETS["cnn"], 3)
    one = StackedTrainer(build, _feed(data), Training(batch_size=16, dtype="float64"))
    whole = one.train(LRS, 0)
    monkeypatch.setattr("ammup.training.stacked.CPU_BYTES", 1)
    small = StackedTrainer(build, _feed(data), Training(batch_size=16, dtype="float64"))
    parts = small.train(LRS, 0)
    assert (one.size or 0) > 1
    assert small.size == 1
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.losses, b.losses, rtol=1e-10)


def test_the_strategy_is_the_faster_one_and_a_model_that_cannot_be_stacked_is_looped(data: Data) -> None:
    feed = _feed(data, dtype=torch.float32)
    choice = choose_strategy(partial(build_model, NETS["mlp"], 3), feed, Training(batch_size=16), lrs=LRS, seed=0)
    assert choice.stacked is not None
    assert choice.strategy == ("stacked" if choice.stacked < choice.loop else "loop")

    class Peeking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.readout = nn.Linear(192, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z: torch.Tensor = self.readout(x.flatten(1))
            return z if z.sum().item() < 1e9 else -z  # vmap has no number to give

    with pytest.raises(InputError, match=r"cannot be trained in a stack .*; use strategy='loop'"):
        StackedTrainer(lambda seed: Peeking(), feed, Training(batch_size=16)).train(LRS, 0)
    choice = choose_strategy(lambda seed: Peeking(), feed, Training(batch_size=16), lrs=LRS, seed=0)
    assert choice.strategy == "loop"
    assert choice.stacked is None
    assert "item" in choice.reason


def test_grids_may_be_arrays_and_counts(data: Data) -> None:
    options = {"data": data, "batch_size": 64, "strategy": "loop"}
    listed = ammup.train_replicas(NETS["cnn"], 2, lrs=[0.1, 1.0], seeds=[0, 1], **options)
    counted = ammup.train_replicas(NETS["cnn"], 2, lrs=np.geomspace(0.1, 1.0, 2), seeds=2, **options)
    assert [(run.lr, run.seed, run.val_loss) for run in counted] == [(r.lr, r.seed, r.val_loss) for r in listed]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "one or more distinct seeds"),
        ({"lrs": []}, "one or more distinct learning rates"),
        ({"lrs": [0.1, 0.1]}, "distinct"),
        ({"lrs": [float("nan")]}, "positive and finite"),
        ({"seeds": []}, "one or more distinct seeds"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"momentum": -1.0}, "momentum=-1.0"),
        ({"dtype": "float16"}, "dtype='float16' is not known; allowed: float32, float64, bfloat16"),
        ({"strategy": "fast"}, "strategy='fast' is not known; allowed: auto, loop, stacked"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"factory": partial(ammup.cnn, width=4, out_channels=3)}, r"returned \(2, 3\); expected one logit per class"),
        ({"factory": partial(ammup.cnn, width=4, in_channels=1)}, "failed on images"),
        ({"factory": lambda depth: 3}, "must return an nn.Module"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, object], message: str, data: Data) -> None:
    given = {"factory": NETS["cnn"], "depth": 2, "lrs": [0.1], "seeds": [0], "data": data} | arguments
    with pytest.raises(InputError, match=message):
        ammup.train_replicas(**given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet, batch norm"])
def test_a_gpu_gives_the_runs_of_the_cpu(name: str, strategy: str, data: Data) -> None:
    runs = {
        device: ammup.train_replicas(
            NETS[name],
            3,
            lrs=LRS,
            seeds=[0],
            data=data,
            batch_size=16,
            dtype="float64",
            strategy=strategy,
            device=device,
        )
        for device in ("cpu", "cuda")
    }
    for here, there in zip(runs["cpu"], runs["cuda"], strict=True):
        np.testing.assert_allclose(there.val_loss, here.val_loss, rtol=1e-8)
        np.testing.assert_allclose(there.curve, here.curve, rtol=1e-8)
