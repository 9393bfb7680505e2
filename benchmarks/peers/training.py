"""Training a grid of learning rates: ours against what else could be done with the same machine.

Every way trains the same replicas (learning rates) of the same net from the same weights on the same minibatches, with
all cores: "obvious loop" is Conv2d(padding_mode="circular"), a DataLoader and torch.optim.SGD, replica after replica;
"vmap" is torch.func's grad and vmap over stacked weights, as its tutorial on ensembles has it, eager and compiled;
"JAX" is jit(vmap(scan)); "ours, loop" trains replica after replica in one process with all threads, "ours, stacked"
all replicas at once, and "ours, processes" is what `ammup sweep` does: a process of one thread for each core, and in
each of them the faster of the two.

First all of them are shown to end with the same weights in float64. Then they take turns, each in a process of its own;
a cell is the median over the turns of training images times replicas a second, with the time to compile apart. A way
that fails, that takes more than 20 seconds for a turn after its first, or that is not installed (pip install jax), is a
dash.

    python -m benchmarks.peers.training --turns 5
    python -m benchmarks.peers.training --device cuda
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

from ammup.experiments.pool import LocalPool
from ammup.training.precision import precision
from benchmarks.peers.ways import BATCH, Case, Prepared, Weights, obvious, ours, vmapped


def _jax(case: Case) -> Prepared:
    from benchmarks.peers.in_jax import in_jax  # which not everybody has

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
SHAPES = {"mlp": (8, 8), "cnn": (10, 16), "resnet": (4, 16)}  # depth, side of the images
MOST_STEPS = 75  # as many as the generated images are enough for
FIRST_LIMIT, LIMIT = 120, 20  # seconds of the first turn, with compiling, and of others; then a peer is given up


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
    """A worker's part of the replicas, by the strategy that is faster at the first call, as a sweep chooses it."""
    if (case, lrs) in _shares:
        _shares[case, lrs].run()
        return
    _shares.clear()
    seconds = {}
    for strategy in ("loop", "stacked"):
        start = time.perf_counter()
        prepared = ours(case, strategy=strategy, lrs=lrs)
        prepared.run()
        seconds[prepared] = time.perf_counter() - start
    _shares[case, lrs] = min(seconds, key=seconds.__getitem__)


def in_processes(pools: list[LocalPool], case: Case) -> float:
    """Seconds of all replicas, dealt to the workers."""
    start = time.perf_counter()
    futures = [pool.submit(share, case, tuple(case.lrs[i :: len(pools)])) for i, pool in enumerate(pools)]
    for future in futures:
        future.result()
    return time.perf_counter() - start


class Alone(LocalPool):
    """A process with all threads, which can be killed and begun again."""

    def __init__(self) -> None:
        ProcessPoolExecutor.__init__(self, 1, mp_context=multiprocessing.get_context("spawn"))


def check_equality(case: Case, processes: dict[str, Alone]) -> None:
    """Same weights in the end, in float64."""
    reference = processes["obvious loop"].submit(outcome, "obvious loop", case).result()
    for way, process in processes.items():
        for mine, theirs in zip(process.submit(outcome, way, case).result(), reference, strict=True):
            for name, weight in theirs.items():
                np.testing.assert_allclose(mine[name], weight, rtol=1e-8, atol=1e-11, err_msg=f"{way}: {name}")
    print(f"{case.family}: the same weights after {case.steps} steps in float64: {', '.join(processes)}", flush=True)


def in_turn(processes: dict[str, Alone], way: str, case: Case, limit: float) -> float:
    """Seconds; NaN, and why, of a peer that cannot do it."""
    try:
        return processes[way].submit(seconds, way, case).result(timeout=limit)
    except TimeoutError:
        images = BATCH * case.steps * case.replicas
        reason = f"not done after {limit} seconds, less than {images / limit:.0f} a second"
        processes[way].kill()
        processes[way] = Alone()
    except Exception as error:  # whatever a peer raises
        if way.startswith("ours"):
            raise
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    print(f"   {way}: {reason}", flush=True)
    return float("nan")


def compare(
    case: Case, turns: int, processes: dict[str, Alone], pools: list[LocalPool]
) -> dict[str, tuple[float, float]]:
    """(images × replicas a second, seconds of the first training over those of a later one) of each way."""
    ways = [*processes, *([PROCESSES] if pools else [])]
    seen: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns + 1):
        for way in ways:
            if seen[way] and math.isnan(seen[way][-1]):
                seen[way].append(float("nan"))
            elif way == PROCESSES:
                seen[way].append(in_processes(pools, case))
            else:
                seen[way].append(in_turn(processes, way, case, LIMIT if turn else FIRST_LIMIT))
    images = BATCH * case.steps * case.replicas
    medians = {way: statistics.median(found[1:]) for way, found in seen.items()}
    return {way: (images / medians[way], found[0] - medians[way]) for way, found in seen.items()}


def row(case: Case, names: list[str], rates: dict[str, tuple[float, float]]) -> str:
    """A line of the table."""
    known = {way: rate for way, (rate, _) in rates.items() if not math.isnan(rate)}
    best = max(rate for way, rate in known.items() if way.startswith("ours"))
    others = [rate for way, rate in known.items() if not way.startswith("ours")]
    cells = [f"{rates[name][0]:>11.0f} ({rates[name][1]:>4.1f})" if name in known else f"{'–':>18}" for name in names]
    ratios = [f"{best / rate:.2f}×" if rate else "–" for rate in (known.get("obvious loop"), max(others, default=None))]
    net = f"{case.family}, {case.width}, {case.side}×{case.side}, {case.replicas} rates"
    return "".join([f"{net:<28}", *cells, f"{ratios[0]:>14}{ratios[1]:>16}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--without", choices=WAYS, nargs="+", default=[], help="ways to leave out")
    parser.add_argument("--families", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--replicas", type=int, nargs="+", default=[4, 40])
    given = parser.parse_args()
    has_jax = importlib.util.find_spec("jax") is not None and given.device == "cpu"
    ways = [way for way in WAYS if way not in given.without and (way != "JAX" or has_jax)]
    processes = {way: Alone() for way in ways}
    cores = len(os.sched_getaffinity(0)) if given.device == "cpu" else 0
    pools = [LocalPool(1) for _ in range(cores)]
    for family in ("mlp", "cnn", "resnet"):
        exact = Case(family=family, depth=3, width=8, side=8, replicas=3, steps=5, dtype="float64", device=given.device)
        check_equality(exact, processes)
    names = [*processes, *([PROCESSES] if pools else [])]
    print(f"\nimages × replicas a second (and seconds that the first time takes longer), {given.device}, {cores} cores")
    print("".join([f"{'net':<28}", *(f"{name:>18}" for name in names), f"{'ours/obvious':>14}{'ours/best peer':>16}"]))
    for family in given.families:
        depth, side = SHAPES[family]
        for width, replicas in itertools.product(given.widths, given.replicas):
            case = Case(
                family=family,
                depth=depth,
                width=8 * width if family == "mlp" else width,
                side=side,
                replicas=replicas,
                steps=MOST_STEPS if family == "mlp" else min(MOST_STEPS, max(2, 240 // (replicas * width // 8))),
                device=given.device,
            )
            print(row(case, names, compare(case, given.turns, processes, pools)), flush=True)
    for pool in [*processes.values(), *pools]:
        pool.shutdown()


if __name__ == "__main__":
    main()
