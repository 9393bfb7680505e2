"""`ammup claims` and `ammup baselines`: the verdicts of the claims, and the stored values behind them."""

import json
import sys
from typing import TYPE_CHECKING

import click

from ammup.errors import InputError, unknown
from ammup.format import with_error
from ammup.progress import announce, tracked

if TYPE_CHECKING:  # imported when a verb runs, so that --help stays fast
    from ammup.claims.comparison import Comparison
    from ammup.claims.record import ClaimRecord


@click.command()
@click.option("--id", "name", help="Show one claim in full.")
@click.option("--measure", is_flag=True, help="Measure again and compare with the baselines (all claims: minutes).")
@click.option(
    "--seed-root",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of other weight draws, for --measure.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def claims(name: str | None, measure: bool, seed_root: int, as_json: bool) -> None:
    """Print the ledger: each statement of the paper with its measured value and verdict.

    The values are those of the stored baselines. With --measure, the exit code is 1 if a value or verdict has changed.

    \b
    Examples:
      ammup claims
      ammup claims --id theorem-1.exponent-mlp
      ammup claims --id theorem-1.exponent-mlp --measure
    """  # noqa: D301  (click reads the \b)
    if measure and not as_json:
        announce("ammup claims: loading PyTorch and the claims")
    from ammup.claims import baselines

    records = baselines.read()
    problems: list[str] = []
    if seed_root and not measure:
        raise InputError("--seed-root applies only to a new measurement; add --measure")
    if measure:
        records, problems = _measure(name, seed_root, progress=not as_json)
    elif name is not None and name not in records:
        raise unknown("claim", name, records, "`ammup claims` lists them")
    chosen = [record.to_dict() for record in records.values() if name in (None, record.id)]
    if as_json:
        click.echo(json.dumps(chosen, ensure_ascii=False, allow_nan=False))
    else:
        from ammup.report.ledger import claim_text, ledger_text
        from ammup.report.terminal import show

        show(ledger_text(chosen) if name is None else claim_text(chosen[0]))
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)


def _measure(name: str | None, root: int, *, progress: bool) -> "tuple[dict[str, ClaimRecord], list[str]]":
    """The records of a new measurement, and one line for each disagreement with the baselines."""
    from ammup.claims.claim import claim_named
    from ammup.claims.ledger import alarms, measure
    from ammup.claims.statements import CLAIMS

    wanted = CLAIMS if name is None else (claim_named(CLAIMS, name),)
    comparisons = list(tracked(measure(wanted, root=root), "measuring", len(wanted), show=progress))
    problems = [f"{comparison.id}: {problem}" for comparison in comparisons for problem in alarms(comparison)]
    return {comparison.id: comparison.new for comparison in comparisons}, problems


@click.group()
def baselines() -> None:
    """Update the stored values of the claims, or compare those of two commits."""


@baselines.command("update")
@click.option("--reason", required=True, help="Why the values may change; stored with each record.")
@click.option("--id", "names", multiple=True, help="Only this claim; can be repeated.  [default: all, takes minutes]")
@click.option("--accept-verdicts", is_flag=True, help="Write a record even if its verdict has changed.")
def update_baselines(reason: str, names: tuple[str, ...], accept_verdicts: bool) -> None:
    """Measure the claims, rewrite the records that changed, and print old → new.

    In CI, or with uncommitted changes, nothing is measured (exit code 2). A record whose verdict would change is left
    unchanged (exit code 1) unless --accept-verdicts is given.

    \b
    Example:
      ammup baselines update --reason "torch 2.15 draws other random numbers"
    """  # noqa: D301  (click reads the \b)
    announce("ammup baselines: loading PyTorch and the claims")
    from ammup.claims.claim import claim_named
    from ammup.claims.ledger import update
    from ammup.claims.statements import CLAIMS

    if not reason.strip():
        raise InputError("--reason is empty; state why the values may change")
    chosen = [claim_named(CLAIMS, name) for name in names] if names else list(CLAIMS)

    def report(comparison: "Comparison", written: bool) -> None:
        old, new = comparison.old, comparison.new
        before = f"{old.estimate:.6g} ({old.verdict})" if old else "none"
        state = "written" if written else "REFUSED" if comparison.moved else "unchanged"
        click.echo(f"{comparison.id}: {before} → {new.estimate:.6g} ({new.verdict})  {state}")

    if not update(chosen, reason=reason, accept_verdicts=accept_verdicts, report=report):
        click.echo("a verdict would change; find out why, or pass --accept-verdicts to store it", err=True)
        sys.exit(1)


@baselines.command("diff")
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff_baselines(before: str, after: str, as_json: bool) -> None:
    """Compare the baselines of two commits.

    \b
    Example:
      ammup baselines diff HEAD~5 HEAD
    """  # noqa: D301  (click reads the \b)
    from ammup.claims.comparison import differences
    from ammup.claims.history import at_commit

    changes = differences(at_commit(before), at_commit(after))
    if as_json:
        rows = [{"id": name, "before": a and a.to_dict(), "after": b and b.to_dict()} for name, a, b in changes]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for name, a, b in changes:
        click.echo(f"{name}: {_estimate_text(a)} → {_estimate_text(b)}")
    click.echo(f"{len(changes)} claim{'' if len(changes) == 1 else 's'} changed")


def _estimate_text(record: "ClaimRecord | None") -> str:
    """The estimate with its standard error and verdict, or none."""
    if record is None:
        return "none"
    return f"{with_error(record.estimate, record.se, '.6g', '.2g')} ({record.verdict})"
