"""The logger against direct measurements; training with it is bit for bit training without it."""

import copy
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

import ammup
from ammup import InputError
from ammup.measurement.logger import MeasurementWarning

OPTIMIZERS = {
    "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "adam": partial(torch.optim.Adam, lr=1e-3),
}


def _net() -> nn.Module:
    return ammup.resnet(2, width=4, batchnorm=True, dropout=0.3)


def _batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(4, 3, 6, 6, generator=generator), torch.randint(10, (4,), generator=generator)


def _train(net: nn.Module, optimizer: Optimizer, steps: int, log: Callable | None = None) -> dict:
    """All that training leaves behind."""
    torch.manual_seed(0)
    for step in range(steps):
        x, y = _batch(step)
        x = x.to(next(net.parameters()))
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        if log is not None:
            gradients = [p.grad.clone() for p in net.parameters()]
            log(step, x, y)
            assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))
        optimizer.step()
    return {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


DTYPES = [torch.float32, torch.float64]


def _assert_bit_identical(name: str, dtype: torch.dtype, *, given: bool) -> None:
    left, net = [], _net().to(dtype)
    for logged in (False, True):
        twin = copy.deepcopy(net)
        optimizer = OPTIMIZERS[name](twin.parameters())
        logger = ammup.UpdateLogger(twin, every=2, loss="cross_entropy", optimizer=optimizer if given else None)
        left.append(_train(twin, optimizer, 6, logger if logged else None))
    assert _same(*left)
    assert logger.table["step"].tolist() == [0, 2, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_bit_identical(name: str, dtype: torch.dtype) -> None:
    _assert_bit_identical(name, dtype, given=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_bit_identical_where_the_optimizer_s_own_step_is_measured(name: str, dtype: torch.dtype) -> None:
    _assert_bit_identical(name, dtype, given=True)


def test_the_comparison_sees_a_difference() -> None:
    net = _net()
    left = []
    for steps in (2, 2, 3):
        twin = copy.deepcopy(net)
        left.append(_train(twin, OPTIMIZERS["adam"](twin.parameters()), steps))
    assert _same(left[0], left[1])
    assert not _same(left[0], left[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_s_is_the_change_that_the_optimizer_s_next_step_makes(name: str, dtype: torch.dtype) -> None:
    """A small true step in the middle of training, by two forwards in float64."""
    net = ammup.mlp(3, width=6, in_features=108, activation="gelu").to(dtype)
    optimizer = OPTIMIZERS[name](net.parameters())
    # Below 1e-4 a step is lost in the rounding of float32 weights.
    lr, rtol = (1e-4, 1e-2) if dtype == torch.float32 else (1e-6, 1e-4)
    optimizer.param_groups[0]["lr"] = lr
    logger = ammup.UpdateLogger(net, every=1, loss="cross_entropy", optimizer=optimizer)
    for step in range(3):
        x, y = _batch(step)
        x = x.flatten(1).to(dtype)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        logger(step, x, y)
        before = _pre_activations(net, x)
        optimizer.step()
        after = _pre_activations(net, x)
        true = [float((b - a).square().mean()) for a, b in zip(before, after, strict=True)]
        np.testing.assert_allclose(lr**2 * logger.S[step], true, rtol=rtol)
    table = logger.table
    assert list(table.columns) == ["step", "lr", "S_bar", "S_bar_at_lr", "lr_star"]
    np.testing.assert_allclose(table["S_bar"], [S.mean() for S in logger.S.values()])
    np.testing.assert_allclose(table["S_bar_at_lr"], lr**2 * table["S_bar"])
    np.testing.assert_allclose(table["lr_star"], table["S_bar"] ** -0.5)
    assert logger.units == ("layers.0", "layers.1", "layers.2")


def _pre_activations(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    net, x, found = copy.deepcopy(net).double(), x.double(), []
    hooks = [layer.register_forward_hook(lambda m, a, z: found.append(z.detach())) for layer in net.layers]
    net(x)
    for hook in hooks:
        hook.remove()
    return found


def test_without_an_optimizer_it_measures_sgd_and_has_no_learning_rate() -> None:
    net, (x, y) = _net(), _batch(0)
    logger = ammup.UpdateLogger(net, every=5, loss="mse", units=["blocks.1"])
    for step in range(11):
        logger(step, x, y)
    assert list(logger.S) == [0, 5, 10]
    expected = ammup.measure_updates(net, x, y, loss="mse", units=["blocks.1"])
    np.testing.assert_array_equal(logger.S[5], expected.S)
    assert logger.table[["lr", "S_bar_at_lr"]].isna().all(axis=None)
    assert logger.table["lr_star"].tolist() == [expected.lr_star] * 3


def test_the_learning_rate_is_that_of_the_schedule() -> None:
    net, (x, y) = _net(), _batch(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    logger = ammup.UpdateLogger(net, every=1, loss="cross_entropy", optimizer=optimizer)
    for step in range(3):
        logger(step, x, y)
        optimizer.step()  # without a gradient it moves nothing
        schedule.step()
    table = logger.table
    np.testing.assert_allclose(table["lr"], [0.5, 0.05, 0.005])
    np.testing.assert_allclose(table["S_bar"], table["S_bar"][0], rtol=1e-5)


def test_groups_keep_their_ratio_to_the_first() -> None:
    net, (x, y) = ammup.cnn(3, width=6), _batch(0)
    groups = ammup.param_groups(net, 0.2, rule="per-unit", inputs=x, targets=y, loss="cross_entropy")
    logger = ammup.UpdateLogger(net, loss="cross_entropy", optimizer=torch.optim.SGD(groups))
    logger(0, x, y)
    (row,) = logger.table.to_dict("records")
    assert row["lr"] == groups[0]["lr"] != 0.2
    plain = ammup.measure_updates(net, x, y, loss="cross_entropy").S_bar
    assert row["S_bar_at_lr"] == pytest.approx(0.2**2 * plain, rel=1e-4)


def test_overhead_is_the_share_of_time_spent_in_measuring() -> None:
    net, (x, y) = _net(), _batch(0)
    logger = ammup.UpdateLogger(net, every=2, loss="cross_entropy")
    assert logger.overhead == 0
    assert logger.table.empty
    logger(1, x, y)  # starts the clock and measures nothing
    assert logger.overhead == 0
    began = time.perf_counter()
    logger(2, x, y)
    measuring = time.perf_counter() - began
    time.sleep(measuring)
    whole = time.perf_counter() - began
    assert 0 < logger.overhead <= measuring / whole
    assert logger.overhead > 0.5 * measuring / whole


def test_nothing_of_a_measurement_is_kept() -> None:
    net, (x, y) = _net(), _batch(0)
    logger = ammup.UpdateLogger(net, every=1, loss="cross_entropy")
    logger(0, x, y)
    assert all(p.grad is None for p in net.parameters())
    assert all(isinstance(S, np.ndarray) for S in logger.S.values())
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_a_failed_measurement_leaves_all_as_it_was() -> None:
    net, (x, y) = _net(), _batch(0)
    optimizer = OPTIMIZERS["adam"](net.parameters())
    before = copy.deepcopy(_train(net, optimizer, 2))
    gradients = [p.grad.clone() for p in net.parameters()]
    logger = ammup.UpdateLogger(net, every=1, loss="cross_entropy", optimizer=optimizer)
    for bad, targets, message in (
        (
            torch.full_like(x, torch.nan),
            y,
            "could not measure step 0, so its row is NaN: inputs contain NaN or infinite",
        ),
        (x[:, :2], y, "cannot be run"),
        (x, y + 100, "class indices are 101 to"),
    ):
        with pytest.warns(MeasurementWarning, match=message):
            logger(0, bad, targets)
    after = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
    assert _same(before, after)
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True))
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())
    assert logger.S == {}
    assert logger.table[["S_bar", "S_bar_at_lr", "lr_star"]].isna().all(axis=None)
    logger(1, x, y)
    assert list(logger.S) == [1]
    assert logger.table["S_bar"].isna().tolist() == [True, False]


def test_unusable_settings_are_refused() -> None:
    net, (x, y) = _net(), _batch(0)
    with pytest.raises(InputError, match="every=0 must be at least 1"):
        ammup.UpdateLogger(net, every=0)
    with pytest.raises(InputError, match="none of the model's parameters"):
        ammup.UpdateLogger(net, loss="cross_entropy", optimizer=torch.optim.SGD(_net().parameters(), lr=0.1))
    with pytest.raises(InputError, match="unknown loss='l1'; expected one of: mse, cross_entropy"):
        ammup.UpdateLogger(net, loss="l1")
    with pytest.raises(InputError, match=r"not in the model: .'nowhere'"):
        ammup.UpdateLogger(net, loss="mse", units=["nowhere"])
    for every, step in ((1, 0), (100, 7)):  # the second one would be measured only at step 100
        with pytest.raises(InputError, match="and loss= is missing; pass loss="):
            ammup.UpdateLogger(net, every=every)(step, x, y)


def _never(*arguments: object, **options: object) -> None:
    raise AssertionError("measured")


def test_a_run_with_a_warm_up_bad_batches_and_divergence_is_trained_to_its_end() -> None:
    """The whole loop against the same one without a logger, and one warning for each kind of failure."""

    def trained(*, logged: bool) -> tuple[dict, ammup.UpdateLogger]:
        net = ammup.mlp(3, width=6, in_features=12)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        logger = ammup.UpdateLogger(net, every=1, loss="cross_entropy", optimizer=optimizer)
        for step in range(14):
            optimizer.param_groups[0]["lr"] = max(0, step - 1) * 0.01 if step < 9 else 1e38
            x, y = _batch(step)
            x = x.reshape(-1, 12)[:4]
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            if logged:
                shown = x[:, :7] if step in (4, 5) else x
                logger(step, shown, y + 10 * (step in (6, 7)))
            optimizer.step()
        return {"net": net.state_dict(), "optimizer": optimizer.state_dict()}, logger

    with pytest.warns(MeasurementWarning) as warned:
        left, logger = trained(logged=True)
    expected, _ = trained(logged=False)
    tensors = [[leaf for leaf in tree_leaves(each) if isinstance(leaf, torch.Tensor)] for each in (left, expected)]
    torch.testing.assert_close(*tensors, rtol=0, atol=0, equal_nan=True)
    assert any(p.isnan().any() for p in left["net"].values())
    table = logger.table.set_index("step")
    assert list(table.index) == list(range(14))
    assert table["lr"].notna().all()
    measured = [step for step in table.index if not np.isnan(table.loc[step, "S_bar"])]
    assert measured[:3] == [2, 3, 8]
    assert list(logger.S) == measured
    assert table.loc[13].isna().tolist() == [False, True, True, True]
    reasons = [str(warning.message).split("row is NaN: ")[1] for warning in warned]
    kinds = ("the optimizer's learning rate is 0", "MLP cannot be run", "class indices are", "the weights contain NaN")
    for kind in kinds:
        assert sum(reason.startswith(kind) for reason in reasons) == 1, reasons
    assert len(reasons) <= len(kinds) + 2  # and what fails while weights diverge that are still finite


class _Failing(torch.optim.SGD):
    """An optimizer whose step fails."""

    def step(self, closure: Callable | None = None) -> None:
        raise AssertionError("this optimizer cannot be copied")


def test_an_exception_of_any_type_is_a_warning() -> None:
    net, (x, y) = _net(), _batch(0)
    logger = ammup.UpdateLogger(net, every=1, loss="cross_entropy", optimizer=_Failing(net.parameters(), lr=0.1))
    with pytest.warns(MeasurementWarning, match="AssertionError: this optimizer cannot be copied"):
        logger(0, x, y)
    logger(1, x, y)  # the same kind: no warning, which would be an error here
    assert logger.table["S_bar"].isna().all()
    lazy = ammup.UpdateLogger(nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(2)), loss="mse")
    with pytest.warns(MeasurementWarning, match="Sequential has parameters without a shape"):
        lazy(0, x.flatten(1))
    failing = ammup.UpdateLogger(net, loss=_never)
    with pytest.warns(MeasurementWarning, match="the loss failed on outputs"):
        failing(0, x, y)


def test_an_interrupt_ends_the_training() -> None:
    def interrupted(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    net, (x, y) = _net(), _batch(0)
    with pytest.raises(KeyboardInterrupt):
        ammup.UpdateLogger(net, loss="mse", forward=interrupted)(0, x, y)
