"""The trainers that sweep_kernel.py times: the sweep kernel after a warm-up, and a reference loop."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import ammup

from .moved import module
from .obvious import standardized_data, train

if TYPE_CHECKING:
    from ammup.data.dataset import Data

Feed = module("ammup.data.minibatches").Feed
DTYPES, Training = module("ammup.training.precision").DTYPES, module("ammup.training.runs").Training
TRAINERS = module("ammup.training.replicas").TRAINERS
BATCH, STEPS, ROUNDS = 128, 2, 3
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
    """A model, its images, and the strategy, dtype and device of its training."""

    family: str = "cnn"
    width: int = 16
    image_size: int = 16
    depth: int = 4
    replicas: int = 1
    strategy: str = "loop"
    dtype: str = "float32"
    device: str = "cpu"

    def model(self, seed: int) -> nn.Module:
        """The model, on the device."""
        arguments = {"in_features": 3 * self.image_size**2} if self.family == "mlp" else {}
        net = FAMILIES[self.family](self.depth, width=self.width, seed=seed, **arguments)
        return net.to(self.device, DTYPES[self.dtype])

    def data(self) -> "Data":
        """Synthetic images, as many as the steps need."""
        return ammup.load_data("synthetic", image_size=self.image_size, train=BATCH * STEPS, validation=16)


class Kernel:
    """A trainer of the sweep kernel after a warm-up."""

    def __init__(self, case: Case) -> None:
        torch.set_num_threads(1)
        self.case, self.data = case, case.data()
        self.feed = Feed(self.data, batch_size=BATCH, device=case.device, dtype=DTYPES[case.dtype])
        self.lrs = [0.01 * (1 + i) for i in range(case.replicas)]
        training = Training(batch_size=BATCH, dtype=case.dtype)
        self.trainer = TRAINERS[case.strategy](case.model, self.feed, training)
        self.train()

    def train(self) -> None:
        """Train every replica for `STEPS` steps, including the set-up of the replicas."""
        self.trainer.train(self.lrs, 0, steps=STEPS)
        if self.case.device == "cuda":
            torch.cuda.synchronize()

    def train_reference(self) -> None:
        """Train the same replicas one after another with a plain PyTorch loop."""
        data = standardized_data(self.data, DTYPES[self.case.dtype])
        for lr in self.lrs:
            train(self.case.model(0), data, lr=lr, steps=STEPS, batch=BATCH, device=self.case.device)

    def seconds_per_replica_step(self) -> float:
        """The median time over rounds."""
        return statistics.median(seconds(self.train) for _ in range(ROUNDS)) / (STEPS * self.case.replicas)

    def operations(self) -> int:
        """Floating-point operations of one step of one replica."""
        images, labels = next(self.feed.training_batches(0, 1))
        with FlopCounterMode(display=False) as counter:
            F.cross_entropy(self.case.model(0)(images.contiguous()), labels).backward()
        return counter.get_total_flops()


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def product_peak(dtype: str, device: str, n: int = 1024) -> float:
    """Operations per second of the fastest of several matrix products."""
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
