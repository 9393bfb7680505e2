"""η* along short runs, compared with a plain training loop; interrupted and resumed; invalid input."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup import InputError, LateCurve, late_curve
from ammup.measurement import late_run
from ammup.models.streams import seeded

STEPS, EVERY, LR = 9, 4, 0.2
NET = partial(ammup.resnet, width=4, batchnorm=True)
BATCHES = [(torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(i)), torch.arange(6) % 3) for i in range(4)]
SHORT = {"lr": LR, "steps": STEPS, "every": EVERY, "loss": "cross_entropy"}


class _KilledError(Exception):
    pass


def _plain_loop(net: nn.Module, batches: list, observe: Callable, *, key: tuple = (2, 0)) -> None:
    """Plain SGD as in torch's tutorials."""
    sgd = torch.optim.SGD(net.parameters(), lr=LR)
    for step in range(STEPS):
        inputs, targets = batches[step % len(batches)]
        observe(step, inputs, targets)
        sgd.zero_grad()
        with seeded("late", *key, step):  # the random numbers of the dropout masks
            F.cross_entropy(net(inputs), targets).backward()
        sgd.step()


def _expected(depth: int, seed: int, **arguments: object) -> dict[int, float]:
    net = partial(NET, **arguments)(depth, seed=seed).train()
    measured = {}

    def observe(step: int, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        if step % EVERY == 0:
            measured[step] = ammup.measure_updates(net, inputs, targets, loss="cross_entropy", seed=seed).S_bar

    _plain_loop(net, BATCHES, observe, key=(depth, seed))
    return measured


def _by_run(curve: LateCurve, depth: int, seed: int) -> dict[int, float]:
    rows = curve.table[(curve.table["depth"] == depth) & (curve.table["seed"] == seed)]
    return dict(zip(rows["step"], rows["S_bar"], strict=True))


@pytest.mark.parametrize("arguments", [{}, {"dropout": 0.3}])
def test_measurements_equal_those_in_a_plain_loop(arguments: dict) -> None:
    late = late_curve(partial(NET, **arguments), [2, 3], data=BATCHES, seeds=2, **SHORT)
    assert sorted(set(late.table["step"])) == [0, 4, 8]
    for depth in (2, 3):
        for seed in (0, 1):
            assert _by_run(late, depth, seed) == pytest.approx(_expected(depth, seed, **arguments), rel=1e-4)


def test_the_users_own_loop_is_measured_and_ended_after_the_last_measurement() -> None:
    seen = []

    def train(model: nn.Module, observe: Callable) -> None:
        def counting(step: int, inputs: torch.Tensor, targets: torch.Tensor) -> None:
            seen.append(step)
            observe(step, inputs, targets)

        _plain_loop(model, BATCHES, counting)

    own = late_curve(NET, [2], train=train, seeds=1, **{**SHORT, "steps": 6})
    assert seen == [0, 1, 2, 3, 4]
    expected = _expected(2, 0)
    assert _by_run(own, 2, 0) == pytest.approx({step: expected[step] for step in (0, 4)}, rel=1e-4)


def test_images_are_standardized_and_shuffled_as_in_a_sweep() -> None:
    data = ammup.load_data("synthetic", image_size=4, train=40, validation=8)
    late = late_curve(partial(ammup.cnn, width=4), [2], data=data, batch_size=16, seeds=1, **SHORT)
    feed = ammup.data.minibatches.Feed(data, batch_size=16, device="cpu", dtype=torch.float32)
    batches = list(feed.training_batches(0, 3))
    net, measured = ammup.cnn(2, width=4, seed=0).train(), {}

    def observe(step: int, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        if step % EVERY == 0:
            measured[step] = ammup.measure_updates(net, inputs, targets, loss="cross_entropy").S_bar

    _plain_loop(net, batches, observe)
    assert _by_run(late, 2, 0) == pytest.approx(measured, rel=1e-4)


def test_the_curve_is_the_geometric_mean_of_the_second_half() -> None:
    rows = [
        {"depth": depth, "seed": seed, "step": step, "S_bar": float(S)}
        for depth, seeds in {2: ((9, 4, 16), (9, 1, 64)), 4: ((9, 16, 64), (9, 1, 4))}.items()
        for seed, values in enumerate(seeds)
        for step, S in zip((0, 10, 20), values, strict=True)
    ]
    curve = LateCurve(table=pd.DataFrame(rows), lr=0.1).curve
    assert curve["lr_star"].tolist() == pytest.approx([(16 * 64) ** -0.25, (64 * 4) ** -0.25])  # step 20 only
    spread = abs(np.log10(0.25) - np.log10(0.125)) / 2
    assert curve["se_log10"].tolist() == pytest.approx([spread, np.log10(4) / 2])
    assert curve["seeds"].tolist() == [2, 2]


@pytest.mark.parametrize(("S_bar", "reached"), [((100.0, 60.0), True), ((100.0, 0.01), False)])
def test_a_curve_that_has_reached_the_rate_of_its_run_says_nothing_about_depth(S_bar: tuple, reached: bool) -> None:
    rows = [{"depth": d, "seed": 0, "step": s, "S_bar": S} for d, S in zip((2, 4), S_bar, strict=True) for s in (0, 1)]
    (text,) = LateCurve(table=pd.DataFrame(rows), lr=0.1).warnings
    assert text.startswith("measured-late is pulled towards the learning rate of its own short runs, 0.1")
    assert ("says nothing about depth" in text) is reached


def test_the_rule_measured_late_is_a_row_and_never_the_recommendation() -> None:
    late = late_curve(NET, [2, 3], data=BATCHES, **SHORT)
    star = dict(zip(late.curve["depth"], late.curve["lr_star"], strict=True))
    table = ammup.transfer_table(0.1, 2, 3, measured={2: 1.0, 3: 0.7}, late=late)
    (row,) = table[table["rule"] == "measured-late"].to_dict("records")
    assert row["lr"] == pytest.approx(0.1 * star[3] / star[2])
    assert row["low"] < row["lr"] < row["high"]
    assert not row["recommended"]
    assert [one["text"] for one in table.attrs["warnings"] if one["kind"] == "late"] == list(late.warnings)
    json.dumps(late.to_dict(), allow_nan=False)
    assert repr(late).startswith("LateCurve(depths 2, ")


# Interruption


DROPPING, TWO_SEEDS = partial(NET, dropout=0.3), {"data": BATCHES, "seeds": 2, **SHORT}


@pytest.fixture(scope="module")
def complete() -> LateCurve:
    """A measurement that is not interrupted."""
    return late_curve(DROPPING, [2, 3], **TWO_SEEDS)


@pytest.mark.parametrize(("run", "killed_at"), [(0, 0), (0, 5), (1, 7), (2, 4)])
def test_a_killed_measurement_continues_where_it_stopped(
    complete: LateCurve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int, killed_at: int
) -> None:
    state, net, arguments = tmp_path / "late.json", DROPPING, TWO_SEEDS
    loss, done = late_run.SgdRun._loss, []

    def dying(*given: object) -> torch.Tensor:
        done.append(1)
        if len(done) == run * STEPS + killed_at + 1:
            raise _KilledError
        return loss(*given)

    monkeypatch.setattr(late_run.SgdRun, "_loss", dying)
    with pytest.raises(_KilledError):
        late_curve(net, [2, 3], state=state, **arguments)
    monkeypatch.setattr(late_run.SgdRun, "_loss", lambda *given: done.append(2) or loss(*given))
    resumed = late_curve(net, [2, 3], state=state, **arguments)
    pd.testing.assert_frame_equal(resumed.table, complete.table)
    last_measured = killed_at - killed_at % EVERY
    assert done.count(2) == (4 - run) * STEPS - last_measured  # only the steps that were missing
    done.clear()
    pd.testing.assert_frame_equal(late_curve(net, [2, 3], state=state, **arguments).table, complete.table)
    assert done == []
    assert [path.name for path in tmp_path.iterdir()] == ["late.json"]


def test_damaged_weights_cost_one_run_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "late.json"
    complete = late_curve(NET, [2], data=BATCHES, seeds=1, **SHORT)
    late_curve(NET, [2], data=BATCHES, seeds=1, state=state, **SHORT)
    content = json.loads(state.read_text())
    del content["runs"][0]["S_bar"]["8"]
    state.write_text(json.dumps(content))
    (tmp_path / "late.json.weights").write_bytes(b"damaged")
    resumed = late_curve(NET, [2], data=BATCHES, seeds=1, state=state, **SHORT)
    pd.testing.assert_frame_equal(resumed.table, complete.table)


def test_a_state_of_other_runs_is_rejected(tmp_path: Path) -> None:
    state = tmp_path / "late.json"
    late_curve(NET, [2], data=BATCHES, seeds=1, state=state, **SHORT)
    for change, message in (
        ({"lr": 0.1}, r"late.json contains short runs with lr=0.2, not 0.1; give another file, or delete this one"),
        ({"every": 2}, "with every=4, not 2"),
        ({"loss": "mse"}, "with loss=cross_entropy, not mse"),
    ):
        with pytest.raises(InputError, match=message):
            late_curve(NET, [2], data=BATCHES, seeds=1, state=state, **{**SHORT, **change})
    with pytest.raises(InputError, match="other weights at depth 2, seed 0: the factory has changed"):
        late_curve(partial(NET, width=6), [2], data=BATCHES, seeds=1, state=state, **SHORT)
    state.write_text("{}")
    with pytest.raises(InputError, match="is not a state file of short runs"):
        late_curve(NET, [2], data=BATCHES, seeds=1, state=state, **SHORT)


# Invalid input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": None}, "give either data=, batches for plain SGD, or train=, your own training loop"),
        ({"train": print}, "give either data="),
        ({"lr": 0.0}, "lr=0.0 must be positive and finite"),
        ({"every": 0}, "every=0: expected an integer of at least 1"),
        ({"every": 9}, "steps=9 and every=9: at least two measurements are needed"),
        ({"data": []}, "data contains no batch"),
        ({"data": [torch.ones(2, 3, 4, 4)]}, r"a batch of data is a Tensor; expected \(inputs, targets\)"),
        ({"data": iter(BATCHES)}, "or can be read only once"),
        ({"depths": []}, "give at least 1"),
        (
            {"lr": 1e30},
            "diverged at depth 2, seed 0 before step 4, or its units do not move any more; choose another lr=",
        ),
    ],
)
def test_invalid_input_is_rejected(change: dict, message: str) -> None:
    arguments = {"depths": [2], "data": BATCHES, "seeds": 1, **SHORT, **change}
    with pytest.raises(InputError, match=message):
        late_curve(partial(ammup.resnet, width=4), **arguments)


def test_a_loop_that_ends_early_is_rejected() -> None:
    def train(model: nn.Module, observe: Callable) -> None:
        observe(0, *BATCHES[0])

    with pytest.raises(InputError, match="the training loop ended before step 4; 9 steps are needed"):
        late_curve(NET, [2], train=train, seeds=1, **SHORT)
