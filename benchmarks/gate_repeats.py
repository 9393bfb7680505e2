"""How often the gate passes a correct model, fails it, or cannot decide, and how often it fails a faulty one.

    python benchmarks/gate_repeats.py                      # tables from the stored pools, about a minute
    python benchmarks/gate_repeats.py --real --only Vit    # real checks and the synthetic ones of the same seeds

Each synthetic check takes its weight draws from the pools of benchmarks/gate_pools.py (sixteen models and their
faults) and decides as `ammup check` does, including the number of draws. Each has a baseline of its own, recorded in
the same way. A check has the seeds of its baseline, as in CI on an unchanged torch, or other ones, as after a change
that draws other random numbers. All options are the default ones; the margin is 0.3.
"""

import re
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the ammup of this checkout

import click
import pandas as pd
from gate_parts import real
from gate_parts.pools import CORRECT, Pool, Pools, unpack
from gate_parts.subjects import subjects
from gate_parts.synthetic import INVALID, OTHER, SAME, Outcome, correct_checks, fault_checks
from scipy import stats

from ammup.gate.allowed import Allowed

POOLS = Path(__file__).parents[1] / "baselines" / "pools" / "gate.npz"
ALARMS = ("moved", "does not hold", INVALID)
Row = dict[str, Any]


def bounds(count: int, number: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson's confidence interval of a probability, from a number of events."""
    low = stats.beta.ppf((1 - level) / 2, count, number - count + 1) if count else 0.0
    high = stats.beta.ppf((1 + level) / 2, count + 1, number - count) if count < number else 1.0
    return float(low), float(high)


def rate(count: int, number: int) -> str:
    """The share of events in percent, with its confidence interval."""
    low, high = bounds(count, number)
    return f"{100 * count / number:.3g} [{100 * low:.3g}, {100 * high:.3g}]"


def correct_row(name: str, pool: Pool, allowed: Allowed, number: int) -> Row:
    """The row of a correct model, of checks with other seeds than those of their baselines."""
    recorded, checks = zip(*correct_checks(pool, allowed, number, seed=0), strict=True)
    draws = pd.Series([check.draws for check in checks])
    return {
        "model": name,
        "pool": pool.size,
        "draws": f"{draws.median():.0f} ({draws.quantile(0.05):.0f}-{draws.quantile(0.95):.0f})",
        "CPU seconds": f"{draws.median() * pool.seconds:.1f}",
        "recordings not decided": _count(recorded, "inconclusive"),
        "false alarms, %": rate(sum(_count(checks, one) for one in ALARMS), number),
        "inconclusive, %": rate(_count(checks, "inconclusive"), number),
        "holds, %": rate(_count(checks, "holds"), number),
    }


def fault_row(name: str, variants: dict[str, Pool], fault: str, allowed: Allowed, number: int) -> Row:
    """The row of a fault."""
    pairs = list(fault_checks(variants, fault, allowed, number, seed=1))
    row: Row = {"model": name, "fault": fault, "pool": variants[fault].size}
    for kind, checks in zip((SAME, OTHER), zip(*pairs, strict=True), strict=True):
        row |= {
            f"caught, {kind}": sum(_count(checks, one) for one in ALARMS),
            f"inconclusive, {kind}": _count(checks, "inconclusive"),
            f"holds, {kind}": _count(checks, "holds"),
        }
    return row


def _count(checks: tuple[Outcome, ...], outcome: str) -> int:
    return sum(check.outcome == outcome for check in checks)


def print_tables(pools: Pools, allowed: Allowed, number: int, faulty: int) -> None:
    """Print the table of correct models and that of faults, as Markdown."""
    rows = [correct_row(name, variants[CORRECT], allowed, number) for name, variants in pools.items()]
    click.echo(f"{number} checks of each correct model, with other seeds than their baselines\n")
    click.echo(pd.DataFrame(rows).to_markdown(index=False))
    rows = [
        fault_row(name, variants, fault, allowed, faulty)
        for name, variants in pools.items()
        for fault in variants
        if fault != CORRECT
    ]
    frame = pd.DataFrame(rows)
    click.echo(f"\n{faulty} checks of each fault\n")
    click.echo(pd.DataFrame([_summary(frame, name) for name in pools]).to_markdown(index=False))
    uncaught = frame[(frame[[f"caught, {kind}" for kind in (SAME, OTHER)]] < 0.95 * faulty).any(axis=1)]
    click.echo(f"\nfaults that are caught in fewer than 95 % of the checks\n\n{uncaught.to_markdown(index=False)}")
    for kind in (SAME, OTHER):
        caught = frame[f"caught, {kind}"] >= 0.95 * faulty
        click.echo(
            f"\n{kind}: {int(caught.sum())} of {len(frame)} faults are caught in 95 % of the checks or more; "
            f"{frame[f'holds, {kind}'].sum()} of {faulty * len(frame)} checks of faults hold"
        )


def _summary(frame: pd.DataFrame, name: str) -> Row:
    """The row of a model in the table of faults."""
    part = frame[frame.model == name]
    numbers = part.drop(columns=["model", "fault", "pool"]).sum().astype(int)
    return {"model": name, "faults": len(part), **numbers.to_dict()}


@click.command(help=__doc__)
@click.option("--pools", type=click.Path(path_type=Path, exists=True), default=POOLS, help="File of the pools.")
@click.option("--only", default="", help="Regular expression of the models.")
@click.option("--checks", default=500, show_default=True, help="Checks of each correct model.")
@click.option("--faulty", default=50, show_default=True, help="Checks of each fault.")
@click.option("--margin", default=0.3, show_default=True, help="Half the width of the allowed region.")
@click.option("--real", "with_nets", is_flag=True, help="Run real checks, and compare them with synthetic ones.")
def main(pools: Path, only: str, checks: int, faulty: int, margin: float, with_nets: bool) -> None:
    started = time.perf_counter()
    allowed = Allowed(expected=None, margin=margin)
    chosen = {name: variants for name, variants in unpack(pools).items() if re.search(only, name)}
    if with_nets:
        every = subjects()
        rows = [row for name in chosen for row in real.compared(name, every[name], chosen[name], allowed)]
        click.echo(pd.DataFrame(rows).to_markdown(index=False))
    else:
        print_tables(chosen, allowed, checks, faulty)
    click.echo(f"\n{time.perf_counter() - started:.0f} s", err=True)


if __name__ == "__main__":
    main()
