"""Recorded steps: on the tensors that a GPU would replay on, the same bits; and the precision that was asked for."""

from collections.abc import Callable
from functools import partial

import pytest
import torch

import ammup
from ammup.data.dataset import Data
from ammup.data.minibatches import Feed
from ammup.models.factory import build_model
from ammup.training import cuda_graph
from ammup.training.cuda_graph import RecordedStep
from ammup.training.precision import precision
from ammup.training.runs import Training
from ammup.training.stacked import StackedTrainer

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
NETS = {
    "cnn": lambda depth, seed: ammup.cnn(depth, width=4, seed=seed),
    "resnet, batch norm": lambda depth, seed: ammup.resnet(depth, width=4, batchnorm=True, seed=seed),
    "resnet, dropout": lambda depth, seed: ammup.resnet(depth, width=4, dropout=0.3, seed=seed),
}
LRS = [0.01, 1e30, 0.1, 0.3]


def _record_on_cpu(
    step: Callable[[], torch.Tensor], state: list[torch.Tensor]
) -> tuple[Callable[[], None], torch.Tensor]:
    """Stand-in for a CUDA graph: a replay calls the step again, on the tensors that a graph would read and write."""
    before = [tensor.clone() for tensor in state]
    losses = step()
    for tensor, value in zip(state, before, strict=True):
        tensor.copy_(value)
    return lambda: losses.copy_(step()), losses


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=GPU)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cpu":
        monkeypatch.setattr(cuda_graph, "record", _record_on_cpu)
    return request.param


@pytest.fixture(scope="module")
def data() -> Data:
    return ammup.load_data("synthetic", image_size=8, train=16 * 12 - 5, validation=50)


def _trained(name: str, data: Data, device: str) -> StackedTrainer:
    feed = Feed(data, batch_size=16, device=device, dtype=torch.float64)
    build = partial(build_model, NETS[name], 2, device=torch.device(device))
    return StackedTrainer(build, feed, Training(batch_size=16, dtype="float64", momentum=0.9))


@pytest.mark.parametrize("name", list(NETS))
def test_a_recorded_step_is_the_step(name: str, device: str, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a diverged replica, a smaller last minibatch, batch norm's statistics and dropout's masks."""
    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: False)
    eager = _trained(name, data, device).train(LRS, 0)
    made: list[RecordedStep] = []
    record = RecordedStep.__init__
    monkeypatch.setattr(RecordedStep, "__init__", lambda self, *a: made.append(self) or record(self, *a))
    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: True)
    recorded = _trained(name, data, device).train(LRS, 0)
    assert (len(made) > 0) == (name != "resnet, dropout")  # masks of a recording would be those of its making
    for one, other in zip(eager, recorded, strict=True):
        torch.testing.assert_close(one.losses, other.losses, rtol=1e-10, atol=1e-12)
        assert one.val_accuracy == pytest.approx(other.val_accuracy, nan_ok=True)
        for weight, tensor in one.weights.items():
            torch.testing.assert_close(other.weights[weight], tensor, rtol=1e-10, atol=1e-12, equal_nan=True)


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that copies from the CPU in its forward."""
    plain = _trained("cnn", data, "cpu").train(LRS, 0)

    def refuse(*_arguments: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: True)
    monkeypatch.setattr(RecordedStep, "__init__", refuse)
    for one, other in zip(plain, _trained("cnn", data, "cpu").train(LRS, 0), strict=True):
        assert torch.equal(one.losses, other.losses)


def test_recording_changes_nothing(device: str) -> None:
    state = torch.zeros(3, device=device)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        state.add_(images.sum() + labels.sum())
        return state * 2

    images, labels = torch.ones(2, device=device), torch.ones(2, device=device)
    recorded = RecordedStep(step, [state], images, labels)
    assert state.tolist() == [0.0] * 3
    assert recorded(images, labels).tolist() == [8.0] * 3
    assert recorded(10 * images, labels).tolist() == [52.0] * 3
    assert (recorded.accepts(images), recorded.accepts(images[:1])) == (True, False)


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
def test_tf32_is_what_was_asked_for_and_left_as_it_was(dtype: str) -> None:
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this torch has one flag for convolutions and recurrent nets")
    operators = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [operator.fp32_precision for operator in operators]
    with precision(torch.device("cuda"), tf32=dtype == "tf32"):
        assert {operator.fp32_precision for operator in operators} == {"tf32" if dtype == "tf32" else "ieee"}
    assert [operator.fp32_precision for operator in operators] == before
    assert torch.backends.cudnn.allow_tf32 in (True, False)  # older code can still ask
