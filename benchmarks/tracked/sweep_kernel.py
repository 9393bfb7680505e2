"""Speed and memory of the sweep kernel: training steps of replicas, on one CPU thread or one GPU.

A case changes some of the defaults of :class:`Case` in kernel.py. asv's own timings (`time_steps`) are what two commits
are compared by within one job; the `track_` figures are for reading. A device that is not there is skipped.
"""

import statistics
from pathlib import Path
from typing import Any

from .moved import module

BATCH = 128  # of kernel.py, which imports torch
DEVICES = ("cpu", "cuda")
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


def require(device: str) -> None:
    """Skip what is not here; where there is no NVIDIA driver, without importing torch."""
    if device == "cpu":
        return
    if Path("/dev/nvidiactl").exists():
        import torch

        if torch.cuda.is_available():
            return
    raise NotImplementedError(f"no {device} here")


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
        require(device)
        from .kernel import Case, Kernel

        self.kept = module("ammup.training.allocator").freed_memory_kept()
        self.kept.__enter__()  # until the process ends: each case has its own
        self.kernel = Kernel(Case(**CASES[case], device=device))

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
        from .kernel import Case, Kernel, product_peak

        found = {}
        for device in DEVICES:
            try:
                require(device)
            except NotImplementedError:
                continue
            for name, changed in CASES.items():
                case = Case(**changed, device=device)
                with module("ammup.training.allocator").freed_memory_kept():
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
        from .kernel import ROUNDS, Case, Kernel, seconds

        with module("ammup.training.allocator").freed_memory_kept():
            kernel = Kernel(Case(**CASES[case]))
            kernel.obviously()
            pairs = [(seconds(kernel.obviously), seconds(kernel.train)) for _ in range(2 * ROUNDS)]
        return statistics.median(theirs / ours for theirs, ours in pairs)
