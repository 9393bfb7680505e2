"""Speed and memory of the sweep kernel: training steps of replicas, on one CPU thread or one GPU.

A case changes some of the defaults of :class:`Case`. asv's own timings (`time_steps`) are what two commits are compared
by within one job; the `track_` figures are for reading. A device that is not there is skipped.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import ammup
from ammup.measurement.data import Data
from ammup.measurement.feed import Feed
from ammup.measurement.memory import freed_memory_kept
from ammup.measurement.replica import DTYPES, Training
from ammup.measurement.training import TRAINERS

from .obvious import standardized, train

BATCH, STEPS, ROUNDS = 128, 2, 3
DEVICES = ("cpu", "cuda")
FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "mlp": ammup.mlp,
    "cnn": ammup.cnn,
    "resnet": ammup.resnet,
    "cnn 1D": partial(ammup.cnn, dims=1),
    "cnn of gelu": partial(ammup.cnn, activation="gelu"),
    "cnn padded with zeros": partial(ammup.cnn, padding="zero"),
    "resnet with batch norm": partial(ammup.resnet, batchnorm=True),
    "resnet with dropout": partial(ammup.resnet, dropout=0.2),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained, and where."""

    family: str = "cnn"
    width: int = 16
    image_size: int = 16
    depth: int = 4
    replicas: int = 1
    strategy: str = "loop"
    dtype: str = "float32"
    device: str = "cpu"

    def model(self, seed: int) -> nn.Module:
        """The net, on the device."""
        given = {"in_features": 3 * self.image_size**2} if self.family == "mlp" else {}
        net = FAMILIES[self.family](self.depth, width=self.width, seed=seed, **given)
        return net.to(self.device, DTYPES[self.dtype])

    def data(self) -> Data:
        """Generated images, as many as the steps take."""
        return ammup.load_data("synthetic", image_size=self.image_size, train=BATCH * STEPS, validation=16)


CASES = {
    ", ".join(f"{name}={value}" for name, value in changed.items()) or "default": changed
    for changed in (
        {},
        {"family": "mlp"},
        {"family": "resnet"},
        {"family": "resnet with batch norm"},
        {"family": "resnet with dropout"},
        {"family": "cnn 1D"},
        {"family": "cnn of gelu"},
        {"family": "cnn padded with zeros"},
        {"width": 8},
        {"width": 64},
        {"image_size": 8},
        {"image_size": 32},
        {"depth": 16},
        {"dtype": "bfloat16"},
        {"dtype": "float64"},
        {"replicas": 8, "width": 8, "image_size": 8},
        {"replicas": 8, "width": 8, "image_size": 8, "strategy": "stacked"},
        {"replicas": 8, "family": "mlp", "width": 64, "image_size": 8, "strategy": "stacked"},
    )
}


class Kernel:
    """A trainer that has warmed up."""

    def __init__(self, case: Case) -> None:
        torch.set_num_threads(1)
        self.case, self.data = case, case.data()
        self.feed = Feed(self.data, batch_size=BATCH, device=case.device, dtype=DTYPES[case.dtype])
        self.lrs = [0.01 * (1 + i) for i in range(case.replicas)]
        training = Training(batch_size=BATCH, dtype=case.dtype)
        self.trainer = TRAINERS[case.strategy](case.model, self.feed, training)
        self.train()

    def train(self) -> None:
        """`STEPS` steps of every replica, with what a replica costs before its first."""
        self.trainer.train(self.lrs, 0, steps=STEPS)
        if self.case.device == "cuda":
            torch.cuda.synchronize()

    def obviously(self) -> None:
        """The same by the obvious loop."""
        data = standardized(self.data, DTYPES[self.case.dtype])
        for lr in self.lrs:
            train(self.case.model(0), data, lr=lr, steps=STEPS, batch=BATCH, device=self.case.device)

    def seconds_per_replica_step(self) -> float:
        """Median over rounds."""
        return statistics.median(_seconds(self.train) for _ in range(ROUNDS)) / (STEPS * self.case.replicas)

    def operations(self) -> int:
        """Floating-point operations of one step of one replica."""
        images, labels = next(self.feed.training_batches(0, 1))
        with FlopCounterMode(display=False) as counter:
            F.cross_entropy(self.case.model(0)(images.contiguous()), labels).backward()
        return counter.get_total_flops()


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


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


def devices() -> list[str]:
    """Those that are here."""
    return [device for device in DEVICES if device == "cpu" or torch.cuda.is_available()]


class Steps:
    """Time and memory of `STEPS` steps of every replica."""

    version = "1"
    timeout = 600
    number = 1
    rounds = 1
    repeat = (3, 10, 5.0)
    warmup_time = 0.0  # the kernel has warmed up
    params = (tuple(CASES), DEVICES)
    param_names = ("case", "device")

    def setup(self, case: str, device: str) -> None:
        """Build the trainer."""
        if device not in devices():
            raise NotImplementedError(f"no {device} here")
        self.kept = freed_memory_kept()
        self.kept.__enter__()
        self.kernel = Kernel(Case(**CASES[case], device=device))

    def teardown(self, case: str, device: str) -> None:
        """Let the allocator be as it was."""
        if hasattr(self, "kept"):
            self.kept.__exit__(None, None, None)

    def time_steps(self, case: str, device: str) -> None:
        """Seconds."""
        self.kernel.train()

    def peakmem_steps(self, case: str, device: str) -> None:
        """Bytes of host memory, with torch itself."""
        self.kernel.train()


class Rates:
    """The same as rates, and beside the machine's matrix product in the same process."""

    version = "1"
    params = (tuple(CASES), DEVICES)
    param_names = ("case", "device")
    timeout = 600

    def setup_cache(self) -> dict[tuple[str, str], tuple[float, float]]:
        """(seconds of a step of a replica, share of the peak) of every case, once."""
        found = {}
        for device in devices():
            for name, changed in CASES.items():
                case = Case(**changed, device=device)
                with freed_memory_kept():
                    kernel = Kernel(case)
                    seconds = kernel.seconds_per_replica_step()
                share = kernel.operations() / seconds / product_peak(case.dtype, device)
                found[name, device] = (seconds, share)
        return found

    def setup(self, found: dict[tuple[str, str], tuple[float, float]], case: str, device: str) -> None:
        """Skip what is not here."""
        if (case, device) not in found:
            raise NotImplementedError(f"no {device} here")

    def track_seconds_per_replica_step(self, found: Any, case: str, device: str) -> float:
        """Shown."""
        return found[case, device][0]

    def track_images_per_second(self, found: Any, case: str, device: str) -> float:
        """Shown; more is better."""
        return BATCH / found[case, device][0]

    def track_share_of_gemm_peak(self, found: Any, case: str, device: str) -> float:
        """Shown; more is better."""
        return found[case, device][1]


Rates.track_seconds_per_replica_step.unit = "s"
Rates.track_images_per_second.unit = "images/s"
Rates.track_share_of_gemm_peak.unit = "of the matrix product"


class TimesObvious:
    """The seconds of the obvious loop over ours, taking turns in one process with one thread; more is better."""

    version = "1"
    params = tuple(name for name, changed in CASES.items() if changed.get("dtype", "float32") == "float32")
    param_names = ("case",)
    timeout = 600
    unit = "times"

    def track_times_obvious(self, case: str) -> float:
        """Median over rounds."""
        with freed_memory_kept():
            kernel = Kernel(Case(**CASES[case]))
            kernel.obviously()
            pairs = [(_seconds(kernel.obviously), _seconds(kernel.train)) for _ in range(2 * ROUNDS)]
        return statistics.median(theirs / ours for theirs, ours in pairs)
