"""Speed and memory of the sweep kernel: training steps of replicas, on one CPU thread or one GPU.

A case overrides defaults of :class:`Case` in kernel.py. Commits are compared within one job by the timings of asv
(`time_steps`); the `track_` values are informative. Devices that are not available are skipped.
"""

import statistics
from pathlib import Path
from typing import Any

from .moved import module

BATCH = 128  # as in kernel.py, which is not imported here because it imports torch
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
        *(
            {"replicas": replicas, "family": "mlp", "width": width, "image_size": 8, "depth": 8, "strategy": "stacked"}
            for width in (64, 128)
            for replicas in (4, 40)
        ),
    )
}


def require(device: str) -> None:
    """Raise NotImplementedError, which skips a benchmark, unless the device is available.

    Without an NVIDIA driver, torch is not imported.
    """
    if device == "cpu":
        return
    if Path("/dev/nvidiactl").exists():
        import torch

        if torch.cuda.is_available():
            return
    raise NotImplementedError(f"{device} is not available")


class Steps:
    """Time and memory of `STEPS` training steps of every replica."""

    version = "1"
    timeout = 600
    number = 1
    rounds = 1
    repeat = (3, 10, 5.0)
    warmup_time = 0.0  # Kernel.__init__ warms up
    params = (tuple(CASES), DEVICES)
    param_names = ("case", "device")

    def setup(self, case: str, device: str) -> None:
        """Build the trainer."""
        require(device)
        from .kernel import Case, Kernel

        self.allocator = module("ammup.training.allocator").freed_memory_kept()
        self.allocator.__enter__()  # until the process ends: asv starts a process for each case
        self.kernel = Kernel(Case(**CASES[case], device=device))

    def time_steps(self, case: str, device: str) -> None:
        """Time of the steps."""
        self.kernel.train()

    def peakmem_steps(self, case: str, device: str) -> None:
        """Peak host memory of the process, including torch."""
        self.kernel.train()


class Rates:
    """The speed of the steps, and its ratio to the speed of a matrix product in the same process."""

    version = "1"
    params = (tuple(CASES), DEVICES)
    param_names = ("case", "device")
    timeout = 600

    def setup_cache(self) -> dict[tuple[str, str], tuple[float, float]]:
        """(Seconds per replica-step, fraction of the speed of a matrix product) of every case."""
        from .kernel import Case, Kernel, product_peak

        results = {}
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
                results[name, device] = (seconds, share)
        return results

    def setup(self, results: dict[tuple[str, str], tuple[float, float]], case: str, device: str) -> None:
        """Skip devices that are not available."""
        if (case, device) not in results:
            raise NotImplementedError(f"{device} is not available")

    def track_seconds_per_replica_step(self, results: Any, case: str, device: str) -> float:
        """Seconds per replica-step."""
        return results[case, device][0]

    def track_images_per_second(self, results: Any, case: str, device: str) -> float:
        """Images per second; more is better."""
        return BATCH / results[case, device][0]

    def track_share_of_gemm_peak(self, results: Any, case: str, device: str) -> float:
        """Fraction of the speed of a matrix product; more is better."""
        return results[case, device][1]


Rates.track_seconds_per_replica_step.unit = "s"
Rates.track_images_per_second.unit = "images/s"
Rates.track_share_of_gemm_peak.unit = "of the matrix product"


class TimesObvious:
    """Time of a plain PyTorch loop divided by that of the kernel, alternating in one thread; more is better.

    The plain loop has the dtype of the weights, which is float32 for a kernel in bfloat16.
    """

    version = "1"
    params = tuple(name for name, changed in CASES.items() if changed.get("dtype", "float32") != "float64")
    param_names = ("case",)
    timeout = 600
    unit = "times"

    def track_times_obvious(self, case: str) -> float:
        """The median over rounds."""
        from .kernel import ROUNDS, Case, Kernel, seconds

        with module("ammup.training.allocator").freed_memory_kept():
            kernel = Kernel(Case(**CASES[case]))
            kernel.train_reference()
            pairs = [(seconds(kernel.train_reference), seconds(kernel.train)) for _ in range(2 * ROUNDS)]
        return statistics.median(reference / ours for reference, ours in pairs)


class OfPlain:
    """Time of a residual net divided by that of the same net with another layer, alternating; more is better."""

    version = "1"
    params = ("resnet with batch norm", "resnet with dropout")
    param_names = ("family",)
    timeout = 600
    unit = "of plain"

    def track_of_plain(self, family: str) -> float:
        """The median over rounds."""
        from .kernel import ROUNDS, Case, Kernel, seconds

        with module("ammup.training.allocator").freed_memory_kept():
            plain, other = Kernel(Case(family="resnet")), Kernel(Case(family=family))
            pairs = [(seconds(plain.train), seconds(other.train)) for _ in range(2 * ROUNDS)]
        return statistics.median(base / changed for base, changed in pairs)
