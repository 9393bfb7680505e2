"""Speed and memory of one measurement: S_l of every depth unit of one net on one batch."""

import torch

import ammup

from .sweep_kernel import DEVICES, devices


class MeasureUpdates:
    """A CNN on 16 images of 16×16 in cross-entropy."""

    version = "1"
    rounds = 1
    timeout = 600
    params = ((4, 16), (16, 64), DEVICES)
    param_names = ("depth", "width", "device")

    def setup(self, depth: int, width: int, device: str) -> None:
        """The net and its batch."""
        if device not in devices():
            raise NotImplementedError(f"no {device} here")
        torch.set_num_threads(1)
        images, labels = ammup.load_data("synthetic", image_size=16).batch(16)
        self.device = device
        self.images, self.labels = images.to(device), labels.to(device)
        self.model = ammup.cnn(depth, width=width).to(device)

    def time_measure_updates(self, depth: int, width: int, device: str) -> None:
        """Seconds."""
        self._measure()

    def peakmem_measure_updates(self, depth: int, width: int, device: str) -> None:
        """Bytes, with torch itself."""
        self._measure()

    def _measure(self) -> None:
        ammup.measure_updates(self.model, self.images, self.labels, loss="cross_entropy")
        if self.device == "cuda":
            torch.cuda.synchronize()
