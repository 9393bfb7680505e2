"""Recorded steps give the results of eager ones; on a CPU, a replacement for CUDA graphs replays them."""

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ammup
from ammup.data.dataset import Data
from ammup.data.minibatches import Feed
from ammup.models.factory import build_model
from ammup.training import cuda_graph
from ammup.training.cuda_graph import RecordedStep, StepRecorder
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
    """Replacement for a CUDA graph: a replay calls the step again on the tensors that a graph would read and write."""
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


def _trainer(name: str, data: Data, device: str) -> StackedTrainer:
    feed = Feed(data, batch_size=16, device=device, dtype=torch.float64)
    build = partial(build_model, NETS[name], 2, device=torch.device(device))
    return StackedTrainer(build, feed, Training(batch_size=16, dtype="float64", momentum=0.9))


@pytest.mark.parametrize("name", list(NETS))
def test_recorded_steps_give_the_same_training_as_eager_ones(
    name: str, device: str, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a diverged replica, a smaller last minibatch, batch norm and dropout."""
    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: False)
    eager = _trainer(name, data, device).train(LRS, 0)
    recordings: list[RecordedStep] = []
    record = RecordedStep.__init__
    monkeypatch.setattr(RecordedStep, "__init__", lambda self, *a: recordings.append(self) or record(self, *a))
    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: True)
    recorded = _trainer(name, data, device).train(LRS, 0)
    assert (len(recordings) > 0) == (name != "resnet, dropout")  # a replay would repeat the masks of the recording
    for expected, actual in zip(eager, recorded, strict=True):
        torch.testing.assert_close(actual.losses, expected.losses, rtol=1e-10, atol=1e-12)
        assert actual.val_accuracy == pytest.approx(expected.val_accuracy, nan_ok=True)
        for weight, tensor in expected.weights.items():
            torch.testing.assert_close(actual.weights[weight], tensor, rtol=1e-10, atol=1e-12, equal_nan=True)


def test_a_step_that_cannot_be_recorded_stays_eager(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example, a step whose forward copies from the CPU."""
    eager = _trainer("cnn", data, "cpu").train(LRS, 0)

    def fail_to_record(*_arguments: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: True)
    monkeypatch.setattr(RecordedStep, "__init__", fail_to_record)
    for expected, actual in zip(eager, _trainer("cnn", data, "cpu").train(LRS, 0), strict=True):
        assert torch.equal(expected.losses, actual.losses)


def test_a_recording_does_not_change_the_state(device: str) -> None:
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


def test_the_warm_up_copies_and_restores_the_state_on_the_stream_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are concurrent: a copy of the state on another stream could read what a step has already written."""
    current = "default"
    streams: list[tuple[str, str]] = []

    @contextmanager
    def on_stream(stream: str) -> Iterator[None]:
        nonlocal current
        previous, current = current, stream
        yield
        current = previous

    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            streams.append((func.overloadpacket.__name__, current))
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr(torch.cuda, "stream", on_stream)
    state = torch.zeros(3)
    warm_up: Any = inspect.unwrap(cuda_graph._warm_up)  # without type checks: there is no stream without a GPU
    with Operators():
        warm_up(lambda: state.add_(1), [state], "side")
    assert state.tolist() == [0.0] * 3
    names = ["clone", *["add_"] * cuda_graph.WARM_UP, "copy_"]
    assert streams == [(name, "side") for name in names]


def test_a_recorder_records_after_the_first_call_and_again_after_a_reset(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: True)
    total = torch.zeros(1, device=device)
    recorder = StepRecorder(torch.device(device))

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        total.add_(images.sum() + labels.sum())
        return total.clone()

    images, labels = torch.ones(2, device=device), torch.zeros(2, device=device)
    losses, recorded = [], []
    for batch in (images, images, 3 * images, images[:1], images):
        losses.append(float(recorder.run(step, lambda: [total], batch, labels[: len(batch)])))
        recorded.append(recorder.recorded is not None)
    assert losses == [2.0, 4.0, 10.0, 11.0, 13.0]
    assert recorded == [False, True, True, True, True]
    recorder.reset()
    assert recorder.recorded is None
    assert float(recorder.run(step, lambda: [total], images, labels)) == 15.0
    assert recorder.recorded is not None


def test_an_out_of_memory_error_during_a_recording_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out_of_memory(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: True)
    monkeypatch.setattr(cuda_graph, "record", out_of_memory)
    recorder, images = StepRecorder(torch.device("cpu")), torch.ones(2)
    recorder.run(lambda x, y: x, lambda: [images], images, images)
    with pytest.raises(torch.OutOfMemoryError):
        recorder.run(lambda x, y: x, lambda: [images], images, images)


@pytest.mark.parametrize("name", ["random", "numpy", "torch on the CPU", "none"])
def test_a_step_that_draws_on_the_cpu_is_not_recorded(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example stochastic depth: a recording would contain one of its branches."""
    monkeypatch.setattr(cuda_graph, "recording_helps", lambda device: True)
    recorder, total = StepRecorder(torch.device(device)), torch.zeros(1, device=device)
    generators: dict[str, Callable[[], float]] = {
        "random": random.random,
        "numpy": np.random.random,
        "torch on the CPU": lambda: torch.rand(1).item(),
        "none": lambda: 0.0,
    }
    draw, images = generators[name], torch.ones(2, device=device)
    for _ in range(3):
        recorder.run(lambda x, y: total + x.sum() * (draw() < 0.5), lambda: [total], images, images)
    assert (recorder.recorded is None) == (name != "none")


def test_without_a_gpu_steps_are_eager() -> None:
    assert not StepRecorder(torch.device("cpu")).enabled
    assert StepRecorder(torch.device("cuda")).enabled
