"""`ammup claims` and `ammup baselines`: what holds, and the figures that say so."""

import json
import sys
from typing import TYPE_CHECKING

import click

from ammup.errors import InputError, unknown
from ammup.format import with_error

if TYPE_CHECKING:  # the libraries behind a verb are imported when it runs: --help answers at once
    from ammup.claims.comparison import Comparison
    from ammup.claims.record import ClaimRecord


@click.command()
@click.option("--id", "name", help="Tell one claim whole.")
@click.option("--measure", is_flag=True, help="Measure again and compare with the baselines; all take minutes.")
@click.option("--seed-root", type=click.IntRange(0), default=0, show_default=True, help="Other weights to measure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def claims(name: str | None, measure: bool, seed_root: int, as_json: bool) -> None:
    """Print the ledger: each statement of the paper, the figure that was measured, and the verdict.

    The figures are those of the stored baselines. With --measure the exit code is 1 where one has moved.

    \b
    Examples:
      ammup claims
      ammup claims --id theorem-1.exponent-mlp
      ammup claims --id theorem-1.exponent-mlp --measure
    """  # noqa: D301  (click reads the \b)
    from ammup.claims import baselines

    records = baselines.read()
    problems: list[str] = []
    if seed_root and not measure:
        raise InputError("--seed-root draws other weights; give --measure with it")
    if measure:
        records, problems = _measured(name, seed_root, progress=not as_json)
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


def _measured(name: str | None, root: int, *, progress: bool) -> "tuple[dict[str, ClaimRecord], list[str]]":
    """Records of the claims, measured now, and where they disagree with the baselines."""
    from ammup.claims.claim import claim_named
    from ammup.claims.ledger import alarms, measure
    from ammup.claims.statements import CLAIMS
    from ammup.progress import tracked

    wanted = CLAIMS if name is None else (claim_named(CLAIMS, name),)
    found = list(tracked(measure(wanted, root=root), "measuring", len(wanted), show=progress))
    problems = [f"{comparison.id}: {problem}" for comparison in found for problem in alarms(comparison)]
    return {comparison.id: comparison.new for comparison in found}, problems


@click.group()
def baselines() -> None:
    """Update the stored figures of the claims, or compare two commits' files."""


@baselines.command("update")
@click.option("--reason", required=True, help="Why the figures may move; stored with each.")
@click.option("--id", "names", multiple=True, help="Only this claim; as often as needed.  [default: all, some minutes]")
@click.option("--accept-verdicts", is_flag=True, help="Write a record even where its verdict is another one now.")
def update_baselines(reason: str, names: tuple[str, ...], accept_verdicts: bool) -> None:
    """Measure the claims and rewrite the records that moved, printing old → new.

    Refuses under CI and with uncommitted changes (exit code 2), and leaves a record whose verdict would change as it
    is unless --accept-verdicts is given (exit code 1).

    \b
    Example:
      ammup baselines update --reason "torch 2.15 draws other random numbers"
    """  # noqa: D301  (click reads the \b)
    from ammup.claims.claim import claim_named
    from ammup.claims.ledger import update
    from ammup.claims.statements import CLAIMS

    if not reason.strip():
        raise InputError("--reason is empty; say why the figures may move")
    chosen = [claim_named(CLAIMS, name) for name in names] if names else list(CLAIMS)

    def report(comparison: "Comparison", written: bool) -> None:
        old, new = comparison.old, comparison.new
        before = f"{old.estimate:.6g} ({old.verdict})" if old else "nothing"
        state = "written" if written else "REFUSED" if comparison.moved else "unmoved"
        click.echo(f"{comparison.id}: {before} → {new.estimate:.6g} ({new.verdict})  {state}")

    if not update(chosen, reason=reason, accept_verdicts=accept_verdicts, report=report):
        click.echo("a verdict would change; look into it, or give --accept-verdicts", err=True)
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

    found = differences(at_commit(before), at_commit(after))
    if as_json:
        rows = [{"id": name, "before": a and a.to_dict(), "after": b and b.to_dict()} for name, a, b in found]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for name, a, b in found:
        old, new = (f"{with_error(r.estimate, r.se, '.6g', '.2g')} ({r.verdict})" if r else "nothing" for r in (a, b))
        click.echo(f"{name}: {old} → {new}")
    click.echo(f"{len(found)} of the claims differ")
