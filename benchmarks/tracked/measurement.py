"""Speed and memory of a measurement: S_l of every depth unit of one net on one batch, and a depth curve."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

import ammup

from .sweep_kernel import DEVICES, require


class MeasureUpdates:
    """A CNN with cross-entropy on 16 images of 16×16."""

    version = "1"
    rounds = 1
    timeout = 600
    params = ((4, 16), (16, 64), DEVICES)
    param_names = ("depth", "width", "device")

    def setup(self, depth: int, width: int, device: str) -> None:
        """Create the net and its batch."""
        require(device)
        torch.set_num_threads(1)
        images, labels = ammup.load_data("synthetic", image_size=16).batch(16)
        self.device = device
        self.images, self.labels = images.to(device), labels.to(device)
        self.model = ammup.cnn(depth, width=width).to(device)

    def time_measure_updates(self, depth: int, width: int, device: str) -> None:
        """Time of a measurement."""
        self._measure()

    def peakmem_measure_updates(self, depth: int, width: int, device: str) -> None:
        """Peak memory of the process, including torch."""
        self._measure()

    def _measure(self) -> None:
        ammup.measure_updates(self.model, self.images, self.labels, loss="cross_entropy")
        if self.device == "cuda":
            torch.cuda.synchronize()


class DepthCurve:
    """CPU time of two simple methods divided by that of `ammup.depth_exponent`, for equal weight draws; more is better.

    benchmarks/peers/measurement.py contains the complete comparison, at equal standard errors.
    """

    version = "1"
    timeout = 600
    depths, draws, lrs = (4, 8), 8, 9

    def setup(self) -> None:
        """Create narrow nets and small images, as for a laptop."""
        torch.set_num_threads(1)
        self.images, self.labels = ammup.load_data("synthetic", image_size=8).batch(16)
        self.factory = partial(ammup.cnn, width=16)
        self._library()

    def track_times_one_by_one(self) -> float:
        """Compare with `ammup.measure_updates` for one net after another."""
        return _cpu_seconds(self._one_by_one) / _cpu_seconds(self._library)

    def track_times_coordinate_check(self) -> float:
        """Compare with forward passes before and after a step of SGD, for every learning rate of a grid."""
        return _cpu_seconds(self._coordinate_check) / _cpu_seconds(self._library)

    def _library(self) -> None:
        ammup.depth_exponent(
            self.factory,
            self.depths,
            inputs=self.images,
            targets=self.labels,
            loss="cross_entropy",
            seeds=self.draws,
            device="cpu",
        )

    def _one_by_one(self) -> None:
        for depth in self.depths:
            for seed in range(self.draws):
                net = self.factory(depth, seed=seed)
                ammup.measure_updates(net, self.images, self.labels, loss="cross_entropy")

    def _coordinate_check(self) -> None:
        for depth in self.depths:
            for seed in range(self.draws):
                for i in range(self.lrs):
                    net = self.factory(depth, seed=seed)
                    step_moment(net, self.images, self.labels, 10.0 ** (i - self.lrs))


def step_moment(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, lr: float) -> float:
    """S̄ of a step of SGD, from the outputs of forward hooks before and after it."""
    outputs: list[torch.Tensor] = []
    units = dict(model.named_modules())
    for name in ammup.depth_units(model, images):
        units[name].register_forward_hook(lambda _module, _inputs, output: outputs.append(output.detach()))
    sgd = torch.optim.SGD(model.parameters(), lr=lr)
    F.cross_entropy(model(images), labels).backward()
    sgd.step()
    before, outputs[:] = list(outputs), []
    with torch.no_grad():
        model(images)
    return sum(float((b - a).double().square().mean()) for a, b in zip(before, outputs, strict=True)) / len(outputs)


def _cpu_seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start
