"""Training a grid of learning rates: ours against what else could be done with the same machine.

Every way trains the same replicas (learning rates) of the same net from the same weights on the same minibatches, with
all cores: "obvious loop" is Conv2d(padding_mode="circular"), a DataLoader and torch.optim.SGD, replica after replica;
"vmap" is torch.func's grad and vmap over stacked weights, as its tutorial on ensembles has it, eager and compiled;
"JAX" is jit(vmap(scan)); "ours, loop" trains replica after replica in one process with all threads, "ours, stacked"
all replicas at once, and "ours, processes" is what `ammup sweep` does: a process of one thread for each core.

First all of them are shown to end with the same weights in float64. Then they take turns, each in a process of its own;
a cell is the median over the turns of training images times replicas a second, with the time to compile apart. A way
that fails, or that is not installed (pip install jax), is a dash.

    python benchmarks/peers/training.py --turns 5
    python benchmarks/peers/training.py --device cuda
"""

import argparse
import importlib.util
import itertools
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from ways import BATCH, Case, Prepared, Weights, obvious, ours, vmapped

from ammup.experiments.pool import LocalPool
from ammup.measurement.replica import precision


def _jax(case: Case) -> Prepared:
    from in_jax import in_jax  # which not everybody has

    return in_jax(case)


WAYS: dict[str, Callable[[Case], Prepared]] = {
    "obvious loop": obvious,
    "vmap, eager": partial(vmapped, compiled=False),
    "vmap, compiled": partial(vmapped, compiled=True),
    "JAX": _jax,
    "ours, loop": partial(ours, strategy="loop"),
    "ours, stacked": partial(ours, strategy="stacked"),
}
PROCESSES = "ours, processes"


_prepared: dict[tuple[str, Case], Prepared] = {}


def seconds(way: str, case: Case) -> float:
    """Of one training of all replicas; the first call of a case prepares, and compiles where that is done."""
    start = time.perf_counter()
    if (way, case) not in _prepared:
        _prepared.clear()
        _prepared[way, case] = WAYS[way](case)
        start = time.perf_counter()
    with precision(torch.device(case.device), tf32=False):  # torch's own convolutions would be TF32 on a GPU
        _prepared[way, case].run()
    if case.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def outcome(way: str, case: Case) -> Weights:
    prepared = WAYS[way](case)
    return prepared.weights(prepared.run())


_shares: dict[tuple[Case, tuple[float, ...]], Prepared] = {}


def share(case: Case, lrs: tuple[float, ...]) -> None:
    """A worker's part of the replicas."""
    if (case, lrs) not in _shares:
        _shares.clear()
        _shares[case, lrs] = ours(case, strategy="loop", lrs=lrs)
    _shares[case, lrs].run()


def in_processes(pools: list[LocalPool], case: Case) -> float:
    """Seconds of all replicas, dealt to the workers."""
    start = time.perf_counter()
    futures = [pool.submit(share, case, tuple(case.lrs[i :: len(pools)])) for i, pool in enumerate(pools)]
    for future in futures:
        future.result()
    return time.perf_counter() - start


def check_equality(case: Case, processes: dict[str, ProcessPoolExecutor]) -> None:
    """Same weights in the end, in float64."""
    reference = processes["obvious loop"].submit(outcome, "obvious loop", case).result()
    for way, process in processes.items():
        for mine, theirs in zip(process.submit(outcome, way, case).result(), reference, strict=True):
            for name, weight in theirs.items():
                np.testing.assert_allclose(mine[name], weight, rtol=1e-8, atol=1e-11, err_msg=f"{way}: {name}")
    print(f"{case.family}: the same weights after {case.steps} steps in float64: {', '.join(processes)}", flush=True)


def compare(
    case: Case, turns: int, processes: dict[str, ProcessPoolExecutor], pools: list[LocalPool]
) -> dict[str, tuple[float, float]]:
    """(images × replicas a second, seconds of the first training over those of a later one) of each way."""
    timed: dict[str, Callable[[], float]] = {
        way: (lambda way=way: processes[way].submit(seconds, way, case).result()) for way in processes
    }
    if pools and case.replicas > 1:
        timed[PROCESSES] = lambda: in_processes(pools, case)
    seen: dict[str, list[float]] = {way: [] for way in timed}
    for _ in range(turns + 1):
        for way, run in timed.items():
            try:
                seen[way].append(run())
            except Exception as error:  # a peer that cannot do it is a dash, and says why
                print(f"   {way} fails: {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
                seen[way].append(float("nan"))
    images = BATCH * case.steps * case.replicas
    medians = {way: statistics.median(found[1:]) for way, found in seen.items()}
    return {way: (images / medians[way], found[0] - medians[way]) for way, found in seen.items()}


def row(case: Case, names: list[str], rates: dict[str, tuple[float, float]]) -> str:
    """A line of the table."""
    known = {way: rate for way, (rate, _) in rates.items() if not math.isnan(rate)}
    best = max(rate for way, rate in known.items() if way.startswith("ours"))
    peer = max(rate for way, rate in known.items() if not way.startswith("ours"))
    cells = [f"{rates[name][0]:>11.0f} ({rates[name][1]:>4.1f})" if name in known else f"{'–':>18}" for name in names]
    net = f"{case.family}, {case.width}, {case.side}×{case.side}, {case.replicas} rates"
    return "".join([f"{net:<28}", *cells, f"{best / known['obvious loop']:>13.2f}×{best / peer:>15.2f}×"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--replicas", type=int, nargs="+", default=[4, 40])
    given = parser.parse_args()
    ways = [way for way in WAYS if way != "JAX" or (importlib.util.find_spec("jax") and given.device == "cpu")]
    spawn = multiprocessing.get_context("spawn")
    processes = {way: ProcessPoolExecutor(1, mp_context=spawn) for way in ways}
    cores = len(os.sched_getaffinity(0)) if given.device == "cpu" else 0
    pools = [LocalPool(1) for _ in range(cores)]
    for family in ("mlp", "cnn", "resnet"):
        exact = Case(family=family, depth=3, width=8, side=8, replicas=3, steps=5, dtype="float64", device=given.device)
        check_equality(exact, processes)
    names = [*processes, *([PROCESSES] if pools else [])]
    print(f"\nimages × replicas a second (and seconds that the first time takes longer), {given.device}, {cores} cores")
    print("".join([f"{'net':<28}", *(f"{name:>18}" for name in names), f"{'ours/obvious':>14}{'ours/best peer':>16}"]))
    for family, depth, side in (("mlp", 8, 8), ("cnn", 10, 16), ("resnet", 4, 16)):
        for width, replicas in itertools.product(given.widths, given.replicas):
            case = Case(
                family=family,
                depth=depth,
                width=8 * width if family == "mlp" else width,
                side=side,
                replicas=replicas,
                steps=max(2, 400 // (replicas * max(1, width // 8))),
                device=given.device,
            )
            print(row(case, names, compare(case, given.turns, processes, pools)), flush=True)
    for pool in [*processes.values(), *pools]:
        pool.shutdown()


if __name__ == "__main__":
    main()
