"""A training step recorded once on a GPU and replayed: small nets spend their time on launching operations."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

# Steps before the recording: they choose kernels and allocate workspaces, which a recording must not do.
WARM_UP = 3

Step = Callable[[Tensor, Tensor], Tensor]  # images, labels -> losses


@runtime_checkable
class Recording(Protocol):
    """What was recorded; replaying it writes to the tensors that were written to then."""

    def replay(self) -> None:
        """Do it again."""
        ...


class RecordedStep:
    """A step on minibatches of one shape.

    Args:
        step: reads and writes the same tensors whenever it is called, draws no random numbers and waits for nothing.
        state: what it writes to; left as it was by the recording.
        images: a minibatch, for its shape.
        labels: of that minibatch.
    """

    def __init__(self, step: Step, state: Iterable[Tensor], images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images.clone(), labels.clone()
        record = _record_on_gpu if images.device.type == "cuda" else _record_on_cpu
        self.recording, self.losses = record(lambda: step(self.images, self.labels), list(state))

    def takes(self, images: Tensor) -> bool:
        """Whether a minibatch has the shape that was recorded."""
        return images.shape == self.images.shape

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The losses of this minibatch, which the next call overwrites."""
        self.images.copy_(images)
        self.labels.copy_(labels)
        with torch.cuda.device(images.device) if images.device.type == "cuda" else nullcontext():
            self.recording.replay()
        return self.losses


def _record_on_gpu(step: Callable[[], Tensor], state: list[Tensor]) -> tuple[Recording, Tensor]:
    before = [tensor.clone() for tensor in state]
    device = state[0].device
    with torch.cuda.device(device):  # streams and graphs are those of the current device
        here, stream = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(here)
        try:
            with torch.cuda.stream(stream):
                try:
                    for _ in range(WARM_UP):
                        step()
                finally:
                    for tensor, value in zip(state, before, strict=True):
                        tensor.copy_(value)
            here.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads, such as the one that pins the next minibatch, may call CUDA meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                losses = step()
        finally:
            torch.cuda.set_stream(here)  # a recording that fails leaves its own
            here.wait_stream(stream)
    return graph, losses


class _Again:
    """On a CPU there is nothing to record: the step is called again, on the same tensors as a GPU's recording has."""

    def __init__(self, step: Callable[[], Tensor], losses: Tensor) -> None:
        self.step, self.losses = step, losses

    def replay(self) -> None:
        self.losses.copy_(self.step())


def _record_on_cpu(step: Callable[[], Tensor], state: list[Tensor]) -> tuple[Recording, Tensor]:
    before = [tensor.clone() for tensor in state]
    losses = step()
    for tensor, value in zip(state, before, strict=True):
        tensor.copy_(value)
    return _Again(step, losses), losses
