"""A group of replicas with scripted losses: divergence, selection, resuming, time, and the records."""

import math
import weakref
from collections.abc import Sequence

import pytest
import torch
from naive_training import STEPS, feed_of
from torch import Tensor, nn

from ammup.data.dataset import Data
from ammup.training.replica import ReplicaGroup, TrainedReplica, thinned
from ammup.training.runs import Training

LRS = [0.1, 0.2, 0.3]


class Scripted(ReplicaGroup):
    """The loss of a replica at step t is t + 10 times its row, and NaN from the given step on."""

    def __init__(self, data: Data, nan_from: Sequence[int] = (99, 99, 99)) -> None:
        super().__init__(nn.Linear(1, 1), feed_of(data), Training(batch_size=16), LRS, 0)
        self.nan_from = nan_from
        self.calls: list[tuple[int, list[int], float]] = []  # step, rows that take it, a random draw

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        rows = self.active.tolist()
        self.calls.append((self.steps_done, rows, float(torch.rand(()))))
        return torch.tensor([self._loss(row) for row in rows])

    def _loss(self, row: int) -> float:
        return math.nan if self.steps_done >= self.nan_from[row] else self.steps_done + 10 * row

    def score(self, images: Tensor, labels: Tensor) -> Tensor:
        assert not self.model.training
        correct = [len(images) / (1 + row) for row in self.active.tolist()]
        return torch.tensor([correct, [2.0 * one for one in correct]])

    def weights(self, index: int) -> dict[str, Tensor]:
        return {"row": self.active[index], "step": torch.tensor(self.steps_done)}


def test_a_diverged_replica_is_retired_with_the_weights_of_its_last_step(data: Data) -> None:
    group = Scripted(data, nan_from=(99, 3, 99))
    group.advance(STEPS)
    assert [rows for _, rows, _ in group.calls] == [[0, 1, 2]] * 4 + [[0, 2]] * (STEPS - 4)
    results = group.results(LRS, validate=True)
    assert [len(results[lr].losses) for lr in LRS] == [STEPS, 3, STEPS]
    assert results[0.2].losses.tolist() == [10.0, 11.0, 12.0]
    assert [int(results[lr].weights["step"]) for lr in LRS] == [STEPS, 4, STEPS]
    assert [int(results[lr].weights["row"]) for lr in LRS] == [0, 1, 2]
    assert results[0.1].val_accuracy == pytest.approx(1.0)
    assert results[0.3].val_accuracy == pytest.approx(1 / 3)
    assert results[0.3].val_loss == pytest.approx(2 / 3)
    assert math.isnan(results[0.2].val_accuracy)
    assert group.model.training


def test_training_ends_when_every_replica_has_diverged(data: Data) -> None:
    group = Scripted(data, nan_from=(1, 0, 2))
    group.advance(STEPS)
    assert [rows for _, rows, _ in group.calls] == [[0, 1, 2], [0, 2], [2]]
    group.advance(STEPS)
    assert len(group.calls) == 3
    assert all(math.isnan(one.val_loss) for one in group.results(LRS, validate=True).values())


def test_training_resumes_with_the_next_step_and_the_random_state(data: Data) -> None:
    complete, parts = Scripted(data), Scripted(data)
    complete.advance(STEPS)
    for steps in (2, 2, 1, 7, STEPS):  # a number that is already reached has no effect
        parts.advance(steps)
        torch.rand(3)
    assert parts.calls == complete.calls
    assert len({draw for _, _, draw in complete.calls}) == STEPS
    assert torch.equal(parts.losses, complete.losses)


def test_discarded_replicas_take_no_steps_and_have_no_results(data: Data) -> None:
    group = Scripted(data, nan_from=(99, 1, 99))
    group.advance(2)
    group.keep([0.3, 0.2])
    group.advance(4)
    assert [rows for _, rows, _ in group.calls] == [[0, 1, 2]] * 2 + [[2]] * 2
    assert {lr: losses.tolist() for lr, losses in group.losses_before_nan().items()} == {
        0.2: [10.0],
        0.3: [20.0, 21.0, 22.0, 23.0],
    }
    group.keep([0.3])
    assert list(group.results([0.3], validate=False)) == [0.3]


def test_the_weights_of_a_discarded_diverged_replica_are_freed(data: Data) -> None:
    group = Scripted(data, nan_from=(0, 99, 99))
    group.advance(2)
    weights = weakref.ref(group.results([0.1], validate=False)[0.1].weights["step"])
    assert weights() is not None
    group.keep([0.2])
    assert weights() is None


def test_time_is_divided_equally(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Scripted(data)
    monkeypatch.setattr("time.perf_counter", lambda: 9.0)
    group.add_time_since(0.0)
    group.keep(LRS[:2])
    group.add_time_since(5.0)
    assert [group.results([lr], validate=False)[lr].seconds for lr in LRS[:2]] == pytest.approx([5.0, 5.0])


def _trained(losses: list[float], val_loss: float = 0.5) -> TrainedReplica:
    return TrainedReplica(weights={}, losses=torch.tensor(losses), val_accuracy=0.25, val_loss=val_loss, seconds=2.0)


def test_the_record_of_a_complete_replica() -> None:
    run = _trained([float(i) for i in range(40)]).run(
        3, 0.1, 7, training=Training(batch_size=16), steps=40, strategy="loop"
    )
    assert (run.depth, run.lr, run.seed, run.strategy) == (3, 0.1, 7, "loop")
    assert (run.val_accuracy, run.val_loss, run.diverged, run.steps) == (0.25, 0.5, False, 40)
    assert run.train_loss == (36 + 37 + 38 + 39) / 4  # the last tenth
    assert run.images_per_second == 40 * 16 / 2.0


@pytest.mark.parametrize(("losses", "val_loss"), [([1.0] * 9, 0.5), ([1.0] * 10, math.nan), ([], 0.5)])
def test_the_results_of_a_diverged_replica_are_nan(losses: list[float], val_loss: float) -> None:
    run = _trained(losses, val_loss).run(3, 0.1, 7, training=Training(), steps=10, strategy="loop")
    assert run.diverged
    assert run.steps == len(losses)
    assert all(math.isnan(value) for value in (run.val_accuracy, run.val_loss, run.train_loss))


@pytest.mark.parametrize(
    ("n", "points", "expected"),
    [(0, 5, ()), (3, 5, ((1, 0.0), (2, 1.0), (3, 2.0))), (5, 2, ((3, 1.0), (5, 3.5))), (6, 2, ((3, 1.0), (6, 4.0)))],
)
def test_a_curve_has_the_means_of_consecutive_parts(n: int, points: int, expected: tuple) -> None:
    assert thinned(torch.arange(float(n)), points) == expected
