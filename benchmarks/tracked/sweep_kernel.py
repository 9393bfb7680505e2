"""Speed and memory of the sweep kernel: training steps of replicas, on one CPU thread or one GPU.

asv's own timings (`time_steps`) are what two commits are compared by within one job; the `track_` figures are for
reading. A device that is not there skips its benchmarks.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import ammup
from ammup.measurement.feed import Feed
from ammup.measurement.loop import LoopTrainer
from ammup.measurement.memory import freed_memory_kept
from ammup.measurement.replica import DTYPES, Training
from ammup.measurement.stacked import StackedTrainer

BATCH, STEPS, ROUNDS = 128, 4, 3
TRAINERS = {"loop": LoopTrainer, "stacked": StackedTrainer}
DEVICES = ("cpu", "cuda")
FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "mlp": ammup.mlp,
    "cnn": ammup.cnn,
    "resnet": ammup.resnet,
    "resnet with batch norm": partial(ammup.resnet, batchnorm=True),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained; each class of benchmarks changes some of it."""

    family: str = "cnn"
    width: int = 16
    image_size: int = 16
    depth: int = 8
    replicas: int = 1
    strategy: str = "loop"
    dtype: str = "float32"
    device: str = "cpu"

    def model(self, seed: int) -> nn.Module:
        """The net, on the device."""
        given = {"in_features": 3 * self.image_size**2} if self.family == "mlp" else {}
        net = FAMILIES[self.family](self.depth, width=self.width, seed=seed, **given)
        return net.to(self.device)

    def feed(self) -> Feed:
        """Minibatches of generated images, as many as there are steps."""
        data = ammup.load_data("synthetic", image_size=self.image_size, train=BATCH * STEPS, validation=16)
        return Feed(data, batch_size=BATCH, device=self.device, dtype=DTYPES[self.dtype])


class Benchmarks:
    """What is asked of every case."""

    version = "1"
    timeout = 600
    number = 1
    repeat = (3, 10, 20.0)
    warmup_time = 0.0

    def prepare(self, case: Case) -> None:
        """Build the trainer, and train once to warm up."""
        if not (case.device == "cpu" or torch.cuda.is_available()):
            raise NotImplementedError(f"no {case.device} here")
        torch.set_num_threads(1)
        self.case = case
        self.kept = ExitStack()
        self.kept.enter_context(freed_memory_kept())
        self.lrs = [0.01 * (1 + i) for i in range(case.replicas)]
        self.trainer = TRAINERS[case.strategy](case.model, case.feed(), Training(batch_size=BATCH, dtype=case.dtype))
        self.steps()

    def teardown(self, *_: Any) -> None:
        """Let the allocator be as it was."""
        if hasattr(self, "kept"):
            self.kept.close()

    def steps(self) -> None:
        """`STEPS` steps of every replica, with what a replica costs before its first."""
        self.trainer.train(self.lrs, 0, steps=STEPS)
        if self.case.device == "cuda":
            torch.cuda.synchronize()

    def seconds_per_replica_step(self) -> float:
        """Median over rounds."""

        def seconds() -> float:
            start = time.perf_counter()
            self.steps()
            return time.perf_counter() - start

        return statistics.median(seconds() for _ in range(ROUNDS)) / (STEPS * self.case.replicas)

    def share_of_peak(self) -> float:
        """Floating-point operations of a step against those of this machine's matrix product, both in this process."""
        images, labels = next(self.trainer.feed.training_batches(0, 1))
        model = self.case.model(0)
        with FlopCounterMode(display=False) as counter:
            F.cross_entropy(model(images.contiguous()), labels).backward()
        rate = counter.get_total_flops() / self.seconds_per_replica_step()
        return rate / product_peak(self.case.dtype, self.case.device)


def product_peak(dtype: str, device: str, n: int = 1024) -> float:
    """Operations a second of the best of several matrix products."""
    computed = torch.bfloat16 if dtype == "bfloat16" else DTYPES[dtype]
    a, b = (torch.randn(n, n, device=device, dtype=computed) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


class _Timed(Benchmarks):
    def time_steps(self, *_: Any) -> None:
        self.steps()

    def track_seconds_per_replica_step(self, *_: Any) -> float:
        return self.seconds_per_replica_step()

    track_seconds_per_replica_step.unit = "s"

    def track_images_per_second(self, *_: Any) -> float:
        return BATCH / self.seconds_per_replica_step()

    track_images_per_second.unit = "images/s, more is better"

    def track_share_of_gemm_peak(self, *_: Any) -> float:
        return self.share_of_peak()

    track_share_of_gemm_peak.unit = "of the matrix product, more is better"

    def peakmem_steps(self, *_: Any) -> None:
        self.steps()


class ByFamily(_Timed):
    """The kinds of nets."""

    params = (tuple(FAMILIES), DEVICES)
    param_names = ("family", "device")

    def setup(self, family: str, device: str) -> None:
        """See the base class."""
        self.prepare(Case(family=family, device=device, depth=4))


class ByShape(_Timed):
    """Width and size of the images, in either precision."""

    params = ((8, 64), (8, 32), ("float32", "bfloat16"), DEVICES)
    param_names = ("width", "image size", "dtype", "device")

    def setup(self, width: int, image_size: int, dtype: str, device: str) -> None:
        """See the base class."""
        self.prepare(Case(width=width, image_size=image_size, dtype=dtype, device=device, depth=4))


class ByDepth(_Timed):
    """Depth."""

    params = ((4, 32), DEVICES)
    param_names = ("depth", "device")

    def setup(self, depth: int, device: str) -> None:
        """See the base class."""
        self.prepare(Case(depth=depth, image_size=8, device=device))


class ByReplicas(_Timed):
    """Replicas one after the other or all at once."""

    params = ((1, 8), tuple(TRAINERS), DEVICES)
    param_names = ("replicas", "strategy", "device")

    def setup(self, replicas: int, strategy: str, device: str) -> None:
        """See the base class."""
        self.prepare(Case(replicas=replicas, strategy=strategy, device=device, width=8, image_size=8))
