"""Test and measure the sweep kernel on a CUDA device within a time budget; run by benchmarks/gpu.sh.

First the equality tests run on the device. Then each method trains a grid of learning rates of a CNN in each dtype, and
asv measures its CUDA cases. Each part has a time limit. The cells that the budget does not reach are listed and stored
with that reason. Rates are medians of training images times replicas per second, and the share of the roofline is
relative to a matrix product and a copy measured on the same device.
"""

import argparse
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ammup.atomic import write_atomically
from benchmarks.gpu_cells import WAYS, measure, peaks, roofline_rate
from benchmarks.gpu_table import RECORDS, table
from benchmarks.peers.training import SingleProcess
from benchmarks.peers.ways import Case

ROOT = Path(__file__).parents[1]
DTYPES = ("float32", "tf32", "bfloat16")
TESTS = ("training/test_cuda_graph.py", "training/test_stacked.py", "training/test_loop.py", "training/test_plan.py")
NOT_REACHED = "not reached"


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is measured, and the limits in seconds of the tests, a cell, and asv."""

    device: str
    widths: tuple[int, ...]
    replicas: tuple[int, ...]
    depth: int
    side: int
    steps: int
    turns: int
    product: int
    tests: tuple[str, ...]
    limits: tuple[float, float, float]


GPU = Size(
    device="cuda", widths=(16, 64), replicas=(1, 4, 40), depth=10, side=16, steps=20, turns=3, product=8192,
    tests=TESTS, limits=(120, 30, 90),
)  # fmt: skip
DRY = Size(
    device="cpu", widths=(2,), replicas=(2,), depth=2, side=4, steps=2, turns=1, product=64,
    tests=("training/test_precision.py",), limits=(60, 30, 60),
)  # fmt: skip


class Clock:
    """The time budget: `limit` is what a part may use of it."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def limit(self, seconds: float, *, reserve: float = 0.0) -> float:
        """At most these seconds and what is left of the budget without the reserve; not above 0 if nothing is."""
        return min(seconds, self.end - reserve - time.monotonic())


def command(arguments: list[str], limit: float, **environment: str) -> str:
    """Run a command; returns "passed" or why it did not pass. Its child processes are stopped with it."""
    if limit <= 0:
        return NOT_REACHED
    print(f"$ {' '.join(arguments)}", flush=True)
    with subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, env=os.environ | environment) as process:
        try:
            code = process.wait(timeout=limit)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # asv and pytest have processes of their own
            if isinstance(error, subprocess.TimeoutExpired):
                return f"stopped after {limit:.0f} s"
            raise
    return "passed" if code == 0 else f"exit code {code}"


def cases(size: Size) -> Iterator[Case]:
    for width in size.widths:
        for replicas in size.replicas:
            for dtype in DTYPES:
                yield Case(
                    family="cnn", depth=size.depth, width=width, side=size.side, replicas=replicas, steps=size.steps,
                    dtype=dtype, device=size.device,
                )  # fmt: skip


def cells(size: Size, ways: list[str], clock: Clock) -> list[dict[str, Any]]:
    """All cells, measured or with the reason why not."""
    reserve, result = size.limits[2], []
    measured = {dtype: peaks(size.device, dtype, size.product) for dtype in DTYPES}
    processes = {way: SingleProcess() for way in ways}
    for case in cases(size):
        best = roofline_rate(case, *measured[case.dtype])
        for way in ways:
            cell: dict[str, Any] = {"C": case.width, "dtype": case.dtype, "replicas": case.replicas, "way": way}
            limit = clock.limit(size.limits[1], reserve=reserve)
            outcome = {"reason": NOT_REACHED} if limit <= 0 else timed(processes, way, case, size.turns, limit)
            if "images_per_second" in outcome:
                outcome["roofline"] = outcome["images_per_second"] / best
            result.append(cell | outcome)
            print(*cell.values(), *(f"{key}={value}" for key, value in outcome.items()), flush=True)
    for process in processes.values():
        process.kill()
    return result


def timed(processes: dict[str, SingleProcess], way: str, case: Case, turns: int, limit: float) -> dict[str, Any]:
    """The measured cell, or the reason why there is none; a process that exceeds the limit is replaced."""
    try:
        return dict(processes[way].submit(measure, way, case, turns).result(timeout=limit))
    except TimeoutError:
        processes[way].kill()
        processes[way] = SingleProcess()
        return {"reason": f"stopped after {limit:.0f} s"}
    except Exception as error:  # a method can raise anything, and its process can be killed
        if not isinstance(error, (RuntimeError, ImportError, TypeError, ValueError, NotImplementedError)):
            processes[way].kill()
            processes[way] = SingleProcess()
        return {"reason": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"}


def asv(machine: str, commit: str, size: Size, clock: Clock) -> str:
    """Record the cases of asv under the machine's name, which is the folder in baselines/asv."""
    if importlib.util.find_spec("asv") is None:
        return "asv is not installed"
    with tempfile.TemporaryDirectory() as scratch:
        config, environment, case = ROOT / "asv.conf.json", {}, ".*"
        if size is DRY:  # asv writes its list of benchmarks and of machines even with its own --dry-run
            config, environment, case = _scratch_config(Path(scratch)), {"HOME": scratch}, "'default'"
        program, where = [sys.executable, "-m", "asv", "--config", str(config)], ["--machine", machine]
        stated = command([*program, "machine", "--yes", *where], clock.limit(30), **environment)
        if stated != "passed":
            return stated
        benchmarks = ["--bench", rf"sweep_kernel\.Steps\.time_steps\({case}, '{size.device}'\)"]
        this = ["--quick", "-E", f"existing:{sys.executable}", "--set-commit-hash", commit]
        return command([*program, "run", *this, *benchmarks, *where], clock.limit(size.limits[2]), **environment)


def _scratch_config(folder: Path) -> Path:
    """The configuration of asv with its results in a folder."""
    from asv.config import Config  # optional

    conf = Config.load(str(ROOT / "asv.conf.json"))
    paths = {"repo": str(ROOT), "benchmark_dir": str(ROOT / conf.benchmark_dir), "env_dir": str(folder / "env")}
    overrides = {"version": conf.api_version, "results_dir": str(folder / "results"), "html_dir": str(folder / "html")}
    path = folder / "asv.conf.json"
    path.write_text(json.dumps(vars(conf) | paths | overrides))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", help="name of this machine: the file and the folder of the results")
    parser.add_argument("--budget", type=float, default=570, help="seconds for everything (570)")
    parser.add_argument("--without", nargs="+", default=[], choices=[*WAYS, "asv"], help="methods to exclude")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU; nothing is stored")
    arguments = parser.parse_args()
    clock, size = Clock(arguments.budget), DRY if arguments.dry_run else GPU
    machine = "dry-run" if arguments.dry_run else arguments.machine
    if not machine or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", machine):
        parser.error("give --machine NAME (letters, digits, - _ .), or --dry-run")
    if size is GPU and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; --dry-run runs on the CPU")
    has_jax = importlib.util.find_spec("jax") is not None
    ways = [way for way in WAYS if way not in arguments.without and (way != "JAX" or has_jax)]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tests = [f"tests/{name}" for name in size.tests]
    checks = {"tests": command([sys.executable, "-m", "pytest", "-q", "-n", "0", *tests], clock.limit(size.limits[0]))}
    record: dict[str, Any] = {
        "machine": machine,
        "device": torch.cuda.get_device_name() if size is GPU else "CPU",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "commit": commit.strip()[:12],
        "checks": checks,
        "cells": cells(size, ways, clock),
    }
    if "asv" not in arguments.without:
        checks["asv"] = asv(machine, commit.strip(), size, clock)
    print(f"\n{table(record)}")
    missing = [cell for cell in record["cells"] if cell.get("reason") == NOT_REACHED]
    print(f"\n{len(missing)} cells were not reached" + "".join(f"\n  {list(cell.values())[:4]}" for cell in missing))
    if size is GPU:
        RECORDS.mkdir(exist_ok=True)
        write_atomically(RECORDS / f"{machine}.json", json.dumps(record, indent=1) + "\n")
    sys.exit(0 if checks["tests"] == "passed" else f"tests: {checks['tests']}")


if __name__ == "__main__":
    main()
