"""The speed of everything except training and measurement: imports, commands, fits and the store."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

import ammup
from ammup.experiments.store import Invocation, Store, StoredExperiment, Worker

from .moved import module

Run = module("ammup.training.runs").Run
VERSIONS = {"ammup": "?"}


class Imports:
    """Imports in a new interpreter."""

    version = "1"
    rounds = 1

    def timeraw_ammup(self) -> str:
        """The package alone."""
        return "import ammup"

    def timeraw_measure_updates(self) -> str:
        """A public name that imports torch."""
        return "from ammup import measure_updates"


class CommandLine:
    """A command in a new interpreter, once."""

    version = "1"
    number = 1
    rounds = 1
    repeat = 1
    warmup_time = 0.0
    timeout = 600

    def time_help(self) -> None:
        """`ammup --help`."""
        _command("--help")

    def time_exponent(self) -> None:
        """`ammup exponent` without options."""
        _command("exponent")


class Fitting:
    """Least squares, and the finite-depth law."""

    version = "1"
    rounds = 1

    def setup(self) -> None:
        """Noisy values of a power law."""
        torch.set_num_threads(1)
        rng = np.random.default_rng(0)
        self.depths = np.arange(3, 31)
        self.values = self.depths**-1.5 * np.exp(0.1 * rng.standard_normal(28))

    def time_fit_power_law(self) -> None:
        """A fit of 28 points."""
        ammup.fit_power_law(self.depths, self.values)

    def time_finite_depth_law(self) -> None:
        """The law of dense nets with up to 64 layers."""
        ammup.finite_depth_law([4, 8, 16, 32, 64], family="mlp")


class Storage:
    """A thousand runs in the store."""

    version = "1"
    rounds = 1
    params = (1000,)
    param_names = ("runs",)

    def setup(self, runs: int) -> None:
        """Create a store that contains the runs, and a folder for another one."""
        self.folder = tempfile.TemporaryDirectory()
        self.runs = {str(i): _run(i) for i in range(runs)}
        self.full = Path(self.folder.name) / "full.db"
        self._write(self.full)

    def teardown(self, runs: int) -> None:
        """Remove the folder."""
        self.folder.cleanup()

    def time_put_runs(self, runs: int) -> None:
        """One transaction for each run, as in a sweep."""
        with tempfile.TemporaryDirectory(dir=self.folder.name) as folder:
            self._write(Path(folder) / "runs.db")

    def time_table(self, runs: int) -> None:
        """Read all runs as a DataFrame."""
        with Store(self.full, mode="read") as store:
            store.table("experiment")

    def _write(self, path: Path) -> None:
        with Store(path, mode="write") as store:
            store.put_experiment(_EXPERIMENT)
            number = store.put_invocation(_INVOCATION)
            put = partial(store.put_runs, experiment="experiment", invocation=number, worker=_WORKER, dtype="float32")
            for key, run in self.runs.items():
                put({key: run})


def _command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "ammup", *arguments], check=True, capture_output=True)


_WORKER = Worker(host="local", device="cpu", threads=1, versions=VERSIONS)
_INVOCATION = Invocation(
    command="none", folder="/", commit=None, dirty=None, ammup_commit=None, ammup_dirty=None, versions=VERSIONS
)
_EXPERIMENT = StoredExperiment(
    key="experiment", name="none", specification="", data_digest=None, strategy="loop", choice=None
)


def _run(number: int) -> Run:
    return Run(
        depth=3,
        lr=1e-3 * 1.01**number,
        seed=0,
        val_accuracy=0.25,
        val_loss=2.0,
        train_loss=2.0,
        diverged=False,
        steps=350,
        curve=tuple((i, 2.0) for i in range(50)),
        seconds=1.0,
        images_per_second=45_000.0,
        strategy="loop",
    )
