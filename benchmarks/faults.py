"""A small sweep under random faults, hundreds of them: what is stored is always what an undisturbed sweep stores.

A round begins the sweep's command on a store that earlier rounds left unfinished, and does one of these to it:

    kill driver, kill worker    SIGKILL, at a random moment
    interrupt, terminate        SIGINT, SIGTERM to the driver
    full disk                   the driver may not make a file larger than the store is, plus a little
    clock                       what the driver and its workers take for the time of day jumps by years, back and forth
    read-only                   neither the store nor its folder may be written
    two drivers                 the same command twice at once
    slow worker                 one cell takes seconds longer
    damaged cache               bytes of the decoded images change, or their files are cut
    out of memory               torch says so in the middle of one cell, or the system kills its worker there

After it the store must hold some of the rows of the undisturbed sweep, to the bit, and the command must have ended as
it should: never with a traceback, never with 0 where something is missing. When nothing is missing any more a new store
is begun. A damaged cache is deleted, as the message says.

It needs Linux, a C compiler for the clock, and setpriv where it is run by the superuser.

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
# What the driver and its workers take for the time of day, under everything that asks the system for it.
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
    """The command, in a folder with all that it reads and writes."""

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
        """In a folder of its own, which can be made read-only."""
        return self.folder / "kept" / "runs.db"

    def begin(
        self, *, before: Callable[[], None] | None = None, prefix: tuple[str, ...] = (), **environ: str
    ) -> "Driver":
        """The command, running."""
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
        """What is stored."""
        if not self.store.exists():
            return pd.DataFrame(columns=VALUES)
        with Store(self.store, mode="read") as store:
            return rows_in_grid(store.table(self.experiment.key), self.experiment)[VALUES]

    def wait_for_more(self, driver: "Driver") -> None:
        """Until a few more cells are stored, or a random moment before."""
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
    """The command while it runs."""

    process: "subprocess.Popen[str]"

    def end(self) -> int:
        """Its exit code.

        Raises:
            AssertionError: it hangs, or it shows a traceback.
        """
        try:
            _, errors = self.process.communicate(timeout=120)
        except subprocess.TimeoutExpired as error:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError("the command hangs") from error
        assert "Traceback" not in errors, errors
        return self.process.returncode


Fault = Callable[[Sweep], set[int]]


def _signalled(which: signal.Signals) -> Fault:
    def fault(sweep: Sweep) -> set[int]:
        driver = sweep.begin()
        sweep.wait_for_more(driver)
        driver.process.send_signal(which)
        return {driver.end()}

    return fault


def _killed_worker(sweep: Sweep) -> set[int]:
    driver = sweep.begin()
    sweep.wait_for_more(driver)
    with suppress(psutil.Error):
        workers = [
            child
            for child in psutil.Process(driver.process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        for worker in sweep.rng.sample(workers, min(len(workers), 1)):
            worker.kill()
    return {driver.end()}


def _full_disk(sweep: Sweep) -> set[int]:
    size = (sweep.store.stat().st_size if sweep.store.exists() else 0) + sweep.rng.randrange(1000, 60_000)
    return {sweep.begin(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))).end()}


def _jumping_clock(sweep: Sweep) -> set[int]:
    library = sweep.folder / "clock.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, library.with_suffix(".c"), "-ldl"], check=True)
    return {sweep.begin(LD_PRELOAD=str(library)).end()}


def _read_only(sweep: Sweep) -> set[int]:
    sweep.store.parent.mkdir(exist_ok=True)
    files = [*sweep.store.parent.iterdir(), sweep.store.parent]
    for file in files:
        file.chmod(0o444 if file.is_file() else 0o555)
    # The superuser may write all the same, unless that is taken away.
    powerless = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
    try:
        return {sweep.begin(prefix=powerless).end()}
    finally:
        for file in reversed(files):
            file.chmod(0o644 if file.is_file() else 0o755)


def _two_drivers(sweep: Sweep) -> set[int]:
    drivers = [sweep.begin(), sweep.begin()]
    return {driver.end() for driver in drivers}


def _marked(*faults: str) -> Fault:
    def fault(sweep: Sweep) -> set[int]:
        driver = sweep.begin()
        sweep.wait_for_more(driver)
        (sweep.folder / "fault").write_text(sweep.rng.choice(faults))
        return {driver.end()}

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
    code = sweep.begin().end()
    shutil.rmtree(sweep.folder / "cache", ignore_errors=True)
    return {code}


# (fault, exit codes that it may end with)
FAULTS: dict[str, tuple[Fault, set[int]]] = {
    "kill driver": (_signalled(signal.SIGKILL), {0, -signal.SIGKILL}),
    "kill worker": (_killed_worker, {0}),
    "interrupt": (_signalled(signal.SIGINT), {0, 1, 130, -signal.SIGINT}),
    "terminate": (_signalled(signal.SIGTERM), {0, 143, -signal.SIGTERM}),
    "full disk": (_full_disk, {0, 2}),
    "clock": (_jumping_clock, {0}),
    "read-only": (_read_only, {0, 2}),
    "two drivers": (_two_drivers, {0, 2}),
    "slow worker": (_marked("slow"), {0}),
    "damaged cache": (_damaged_cache, {0, 2}),
    "out of memory": (_marked("memory", "killed"), {0, 2, 137}),
}


def check(sweep: Sweep, undisturbed: pd.DataFrame, codes: set[int]) -> bool:
    """Whether the sweep is whole; AssertionError where its rows are not those of the undisturbed one."""
    runs = sweep.runs()
    assert not runs["key"].duplicated().any()
    mine = undisturbed[undisturbed["key"].isin(runs["key"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(runs.reset_index(drop=True).astype(mine.dtypes), mine, check_exact=True)
    whole = len(runs) == len(undisturbed)
    assert whole or codes != {0}, "the command ended with 0 and cells are missing"
    return whole


def survive(rounds: int, seed: int, folder: Path) -> pd.DataFrame:
    """Rounds by fault, what they ended with, and stores that were filled."""
    sweep = Sweep(folder, random.Random(seed), cores=2)
    assert sweep.begin().end() == 0
    undisturbed = sweep.runs()
    shutil.rmtree(sweep.store.parent)
    counted: dict[str, Counter[int]] = defaultdict(Counter)
    filled = 0
    for round_ in range(rounds):
        name = list(FAULTS)[round_ % len(FAULTS)] if round_ < len(FAULTS) else sweep.rng.choice(list(FAULTS))
        fault, allowed = FAULTS[name]
        codes = fault(sweep)
        (folder / "fault").unlink(missing_ok=True)
        assert codes <= allowed, f"round {round_}, {name}: ended with {codes}; allowed: {allowed}"
        counted[name].update(codes)
        if check(sweep, undisturbed, codes):
            filled += 1
            shutil.rmtree(sweep.store.parent)
        if round_ % 20 == 19:
            print(f"{round_ + 1} rounds, {filled} stores filled", file=sys.stderr, flush=True)
    # What is left unfinished ends as the others.
    assert sweep.begin().end() == 0
    assert check(sweep, undisturbed, {0})
    print(f"{rounds} rounds survived; {filled + 1} stores filled, equal to the undisturbed {len(undisturbed)} rows")
    table = [{"fault": name, "rounds": codes.total(), "ended with": dict(codes)} for name, codes in counted.items()]
    return pd.DataFrame(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(survive(given.rounds, given.seed, Path(folder)).to_string(index=False))


if __name__ == "__main__":
    main()
