"""Records a training step as a CUDA graph and replays it, because kernel launches dominate the time of small nets."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ammup.training.plan import random_state

# Steps before the recording. They select kernels and allocate workspaces, which must not happen during a recording.
WARM_UP = 3

Step = Callable[[Tensor, Tensor], Tensor]  # images, labels -> losses


class RecordedStep:
    """A recording of a step on minibatches of one shape.

    Args:
        step: reads and writes the same tensors in every call, draws no random numbers and does not synchronize.
        state: the tensors it writes to; the recording does not change their values.
        images: a minibatch of the shape to record.
        labels: its labels.
    """

    def __init__(self, step: Step, state: Iterable[Tensor], images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images.clone(), labels.clone()
        self.replay, self.losses = record(lambda: step(self.images, self.labels), list(state))

    def accepts(self, images: Tensor) -> bool:
        """Whether a minibatch has the recorded shape."""
        return images.shape == self.images.shape

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The losses of this minibatch; the next call overwrites them."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.replay()
        return self.losses


class StepRecorder:
    """Calls a step directly, or replays a recording of it if that is faster and the step can be recorded.

    The first call is never recorded. It is used to detect whether the step draws random numbers: a recording would
    repeat the same numbers, or the branch that a number drawn on the CPU selected.
    """

    def __init__(self, device: torch.device) -> None:
        self.enabled = recording_helps(device)
        self.first_call = True
        self.recorded: RecordedStep | None = None

    def run(self, step: Step, state: Callable[[], Iterable[Tensor]], images: Tensor, labels: Tensor) -> Tensor:
        """The losses of a step; ``state`` returns the tensors that it writes to."""
        if self.enabled and self.first_call:
            return self._first_step(step, images, labels)
        if self.enabled and self.recorded is None:
            self._record(step, state(), images, labels)
        if self.recorded is None or not self.recorded.accepts(images):
            return step(images, labels)
        return self.recorded(images, labels)

    def reset(self) -> None:
        """Delete the recording. Needed if the step now writes to other tensors, or to free memory."""
        self.recorded = None

    def _first_step(self, step: Step, images: Tensor, labels: Tensor) -> Tensor:
        before = _random_states(images.device)
        losses = step(images, labels)
        self.enabled = before == _random_states(images.device)
        self.first_call = False
        return losses

    def _record(self, step: Step, state: Iterable[Tensor], images: Tensor, labels: Tensor) -> None:
        try:
            self.recorded = RecordedStep(step, state, images, labels)
        except torch.OutOfMemoryError:
            raise
        except (
            RuntimeError
        ):  # the step runs but cannot be recorded, for example because its forward copies from the CPU
            self.enabled = False


def recording_helps(device: torch.device) -> bool:
    """Whether a recorded step is faster: only on a GPU."""
    return device.type == "cuda"


def _random_states(device: torch.device) -> tuple[object, ...]:
    """States of the generators that a step may draw from: torch's on the device and on the CPU, NumPy's, Python's."""
    state: Any = np.random.get_state(legacy=True)  # noqa: NPY002  (the global generator of users' modules)
    name, keys, *position = state
    torch_states = (random_state(device), torch.get_rng_state())
    return (*(bytes(state.numpy()) for state in torch_states), name, bytes(keys), *position, random.getstate())


def record(step: Callable[[], Tensor], state: list[Tensor]) -> tuple[Callable[[], None], Tensor]:
    """(function that replays the step, tensor of losses that it writes to); the values in ``state`` are not changed."""
    device = state[0].device
    with torch.cuda.device(device):  # streams and graphs belong to the current device
        current, stream = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        try:
            _warm_up(step, state, stream)
            current.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may call CUDA during the recording, such as the one that pins the next minibatch.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                losses = step()
        finally:
            torch.cuda.set_stream(current)  # torch does not reset the stream if a recording fails
            current.wait_stream(stream)

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay, losses


def _warm_up(step: Callable[[], Tensor], state: list[Tensor], stream: torch.cuda.Stream) -> None:
    """Call the step a few times on the stream and restore the state."""
    with torch.cuda.stream(stream):
        # On the same stream as the steps: a copy on another one could read values that a step has already overwritten.
        before = [tensor.clone() for tensor in state]
        try:
            for _ in range(WARM_UP):
                step()
        finally:
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
