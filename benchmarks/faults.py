"""Test that random faults during a small sweep never change the rows that it stores.

Each round starts the sweep on a store that earlier rounds left incomplete, and injects one of these faults:

    kill driver, kill worker    SIGKILL at a random time
    interrupt, terminate        SIGINT or SIGTERM to the driver
    full disk                   the driver cannot make any file much larger than the store is now
    clock                       the system time of the driver and its workers jumps by years in both directions
    read-only                   the store and its folder are not writable
    two drivers                 the same command runs twice simultaneously
    slow worker                 one cell takes seconds longer
    damaged cache               bytes of the decoded images are changed, or the files are truncated
    out of memory               torch raises OutOfMemoryError in a cell, or the system kills its worker

After each round, the rows of the store must be bitwise equal to rows of an undisturbed sweep. The command must exit
with an expected code and without a traceback, and not with 0 if cells are missing. A complete store is replaced by a
new one. A damaged cache is deleted, as the error message recommends.

It requires Linux, a C compiler for the clock, and setpriv if it is run by root.

    python benchmarks/faults.py --rounds 200
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.status import rows_in_grid
from ammup.experiments.store import Store

VALUES = ["key", "depth", "lr", "seed", "val_accuracy", "val_loss", "train_loss", "diverged", "steps"]
SWEEP = """
name = "faults"
strategy = "loop"
model = {factory = "faulty:net", arguments = {width = 8}}
data = {source = "images.npz", image_size = 8, train = 1280, validation = 128}
grid = {depths = [2, 3], lrs = {low = 0.01, high = 100.0, points = 10}, seeds = 3}
"""
FACTORY = """
import os, time
from pathlib import Path
import torch, ammup

def net(depth, seed, width):
    model = ammup.cnn(depth, width=width, seed=seed)
    try:
        place = Path(__file__).with_name("fault")
        fault = place.read_text()
        place.unlink()
    except FileNotFoundError:
        return model
    if fault == "slow":
        time.sleep(2)
    if fault == "killed":
        os._exit(137)
    if fault == "memory":
        def fail(module, inputs):
            raise torch.OutOfMemoryError("out of memory: tried to allocate 80 GiB")
        model.register_forward_pre_hook(fail)
    return model
"""
# A library, loaded with LD_PRELOAD, that replaces the functions of the C library that return the time of day.
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long jump(void) { return random() % 200000000 - 100000000; }
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int found = next(clock, now);
    if (clock == CLOCK_REALTIME) now->tv_sec += jump();
    return found;
}
time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict where, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    where->tv_sec = now.tv_sec;
    where->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


@dataclass
class Sweep:
    """The command of the sweep, with a folder that contains all its input and output files."""

    folder: Path
    rng: random.Random
    cores: int

    def __post_init__(self) -> None:
        (self.folder / "experiment.toml").write_text(SWEEP)
        (self.folder / "faulty.py").write_text(FACTORY)
        (self.folder / "clock.c").write_text(CLOCK)
        rng = np.random.default_rng(0)
        arrays = {}
        for split, n in (("train", 1280), ("val", 128), ("test", 16)):
            labels = np.arange(n) % 10
            images = rng.integers(0, 200, (n, 8, 8, 3)) + 5 * labels[:, None, None, None]
            arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
        np.savez(self.folder / "images.npz", **arrays)
        self.experiment = Experiment.from_toml(SWEEP)

    @property
    def store(self) -> Path:
        """The store, in a separate folder, which can be made read-only."""
        return self.folder / "store" / "runs.db"

    def start(
        self, *, before: Callable[[], None] | None = None, prefix: tuple[str, ...] = (), **environ: str
    ) -> "Driver":
        """Start the command."""
        self.store.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "ammup", "sweep", "experiment.toml", "--store", str(self.store)]
        command += ["--workers", str(self.rng.choice((1, self.cores)))]
        paths = {"PYTHONPATH": str(self.folder), "AMMUP_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"}
        return Driver(
            subprocess.Popen(
                [*prefix, *command],
                cwd=self.folder,
                env={**os.environ, **paths, **environ},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=before,
                start_new_session=True,
            )
        )

    def runs(self) -> pd.DataFrame:
        """The stored runs."""
        if not self.store.exists():
            return pd.DataFrame(columns=VALUES)
        with Store(self.store, mode="read") as store:
            return rows_in_grid(store.table(self.experiment.key), self.experiment)[VALUES]

    def wait_for_more(self, driver: "Driver") -> None:
        """Wait until a random number of further cells is stored, at most for a random time."""
        wanted: int | None = None
        end = time.monotonic() + self.rng.uniform(1, 12)
        while driver.process.poll() is None and time.monotonic() < end:
            with suppress(InputError):
                stored = len(self.runs())
                wanted = stored + self.rng.randrange(12) if wanted is None else wanted
                if stored >= wanted:
                    return
            time.sleep(0.05)


@dataclass
class Driver:
    """A running command."""

    process: "subprocess.Popen[str]"

    def wait(self) -> int:
        """Wait for the exit code.

        Raises:
            AssertionError: the command hangs or prints a traceback.
        """
        try:
            _, errors = self.process.communicate(timeout=120)
        except subprocess.TimeoutExpired as error:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError("the command hangs") from error
        assert "Traceback" not in errors, errors
        return self.process.returncode


Fault = Callable[[Sweep], set[int]]


def _signal(which: signal.Signals) -> Fault:
    def fault(sweep: Sweep) -> set[int]:
        driver = sweep.start()
        sweep.wait_for_more(driver)
        driver.process.send_signal(which)
        return {driver.wait()}

    return fault


def _killed_worker(sweep: Sweep) -> set[int]:
    driver = sweep.start()
    sweep.wait_for_more(driver)
    with suppress(psutil.Error):
        workers = [
            child
            for child in psutil.Process(driver.process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        for worker in sweep.rng.sample(workers, min(len(workers), 1)):
            worker.kill()
    return {driver.wait()}


def _full_disk(sweep: Sweep) -> set[int]:
    size = (sweep.store.stat().st_size if sweep.store.exists() else 0) + sweep.rng.randrange(1000, 60_000)
    return {sweep.start(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))).wait()}


def _jumping_clock(sweep: Sweep) -> set[int]:
    library = sweep.folder / "clock.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, library.with_suffix(".c"), "-ldl"], check=True)
    return {sweep.start(LD_PRELOAD=str(library)).wait()}


def _read_only(sweep: Sweep) -> set[int]:
    sweep.store.parent.mkdir(exist_ok=True)
    files = [*sweep.store.parent.iterdir(), sweep.store.parent]
    for file in files:
        file.chmod(0o444 if file.is_file() else 0o555)
    # Root can write to read-only files unless this capability is dropped.
    drop_capability = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
    try:
        return {sweep.start(prefix=drop_capability).wait()}
    finally:
        for file in reversed(files):
            file.chmod(0o644 if file.is_file() else 0o755)


def _two_drivers(sweep: Sweep) -> set[int]:
    drivers = [sweep.start(), sweep.start()]
    return {driver.wait() for driver in drivers}


def _fault_in_cell(*faults: str) -> Fault:
    def fault(sweep: Sweep) -> set[int]:
        driver = sweep.start()
        sweep.wait_for_more(driver)
        (sweep.folder / "fault").write_text(sweep.rng.choice(faults))
        return {driver.wait()}

    return fault


def _damaged_cache(sweep: Sweep) -> set[int]:
    for file in (sweep.folder / "cache").glob("decoded/*/*"):
        if sweep.rng.random() < 0.5:
            content = bytearray(file.read_bytes())
            at = sweep.rng.randrange(len(content))
            if sweep.rng.random() < 0.5:
                content[at] ^= 1 << sweep.rng.randrange(8)
            else:
                del content[at:]
            file.write_bytes(content)
    code = sweep.start().wait()
    shutil.rmtree(sweep.folder / "cache", ignore_errors=True)
    return {code}


# (Fault, accepted exit codes)
FAULTS: dict[str, tuple[Fault, set[int]]] = {
    "kill driver": (_signal(signal.SIGKILL), {0, -signal.SIGKILL}),
    "kill worker": (_killed_worker, {0}),
    "interrupt": (_signal(signal.SIGINT), {0, 1, 130, -signal.SIGINT}),
    "terminate": (_signal(signal.SIGTERM), {0, 143, -signal.SIGTERM}),
    "full disk": (_full_disk, {0, 2}),
    "clock": (_jumping_clock, {0}),
    "read-only": (_read_only, {0, 2}),
    "two drivers": (_two_drivers, {0, 2}),
    "slow worker": (_fault_in_cell("slow"), {0}),
    "damaged cache": (_damaged_cache, {0, 2}),
    "out of memory": (_fault_in_cell("memory", "killed"), {0, 2, 137}),
}


def check(sweep: Sweep, undisturbed: pd.DataFrame, codes: set[int]) -> bool:
    """Whether the sweep is complete.

    Raises:
        AssertionError: its rows differ from those of the undisturbed sweep.
    """
    runs = sweep.runs()
    assert not runs["key"].duplicated().any()
    expected = undisturbed[undisturbed["key"].isin(runs["key"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(runs.reset_index(drop=True).astype(expected.dtypes), expected, check_exact=True)
    complete = len(runs) == len(undisturbed)
    assert complete or codes != {0}, "the exit code is 0 although cells are missing"
    return complete


def run_rounds(rounds: int, seed: int, folder: Path) -> pd.DataFrame:
    """A table with the number of rounds and the exit codes of each fault."""
    sweep = Sweep(folder, random.Random(seed), cores=2)
    assert sweep.start().wait() == 0
    undisturbed = sweep.runs()
    shutil.rmtree(sweep.store.parent)
    counted: dict[str, Counter[int]] = defaultdict(Counter)
    n_complete = 0
    for round_ in range(rounds):
        name = list(FAULTS)[round_ % len(FAULTS)] if round_ < len(FAULTS) else sweep.rng.choice(list(FAULTS))
        fault, allowed = FAULTS[name]
        codes = fault(sweep)
        (folder / "fault").unlink(missing_ok=True)
        assert codes <= allowed, f"round {round_}, {name}: exit codes {codes}; expected: {allowed}"
        counted[name].update(codes)
        if check(sweep, undisturbed, codes):
            n_complete += 1
            shutil.rmtree(sweep.store.parent)
        if round_ % 20 == 19:
            print(f"{round_ + 1} rounds, {n_complete} complete stores", file=sys.stderr, flush=True)
    # Complete the last store.
    assert sweep.start().wait() == 0
    assert check(sweep, undisturbed, {0})
    print(f"{rounds} rounds passed; {n_complete + 1} complete stores, equal to the undisturbed {len(undisturbed)} rows")
    table = [{"fault": name, "rounds": codes.total(), "exit codes": dict(codes)} for name, codes in counted.items()]
    return pd.DataFrame(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(run_rounds(arguments.rounds, arguments.seed, Path(folder)).to_string(index=False))


if __name__ == "__main__":
    main()
