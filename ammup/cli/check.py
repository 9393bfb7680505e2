"""`ammup check`: does η* of a model fall with depth as expected? For a user's continuous integration."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import click

from ammup.cli.batch import BatchOptions, parsed_depths, takes_batch
from ammup.cli.files import check_folder, check_new_figure
from ammup.errors import InputError

if TYPE_CHECKING:
    from ammup.gate.depth_check import DepthCheck

MARGIN = 0.15


@click.command()
@click.argument("family", metavar="FAMILY|PACKAGE.MODULE:FACTORY")
@click.option("--depths", callback=parsed_depths, default="4,8,16,32", show_default=True, help="Depths to measure.")
@click.option("--expected", type=float, help="The slope of log η* on log L, signed.  [default: the baseline's]")
@click.option("--margin", type=float, default=MARGIN, show_default=True, help="How far from it the slope may be.")
@click.option("--max-depth-drift", type=float, help="How much the slope may change from shallow to deep.")
@click.option("--level", type=float, default=0.95, show_default=True, help="Confidence level of the interval.")
@click.option("--seeds", type=click.IntRange(2), help="Weight draws at each depth.  [default: as many as it takes]")
@takes_batch
@click.option("--baseline", type=click.Path(path_type=Path, dir_okay=False),
              help="Record what is found, or compare with what was recorded.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the law into a new file.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write a JUnit report.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    family: str,
    depths: tuple[int, ...],
    expected: float | None,
    margin: float,
    max_depth_drift: float | None,
    level: float,
    seeds: int | None,
    batch: BatchOptions,
    baseline: Path | None,
    plot: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Check that the slope of log η* on log L is what is expected, beyond doubt.

    Exit code 0 where the whole interval lies in EXPECTED ± MARGIN; 1 where all of it lies outside, or where it is
    inconclusive (the message says what to raise); 2 for bad input. With --baseline FILE the first run records the curve
    and later runs compare with it; commit the file. FAMILY as for `ammup exponent`.

    \b
    Examples:
      ammup check my_package.models:make_net --depths 4,8,16,32 --expected -1.0 --margin 0.15
      ammup check my_package.models:make_net --data ~/cifar10 --image-size 16 --baseline depth.json
      ammup check cnn --depths 2,4,8 --expected -1.2 --margin 0.3 --junit report.xml --plot law.png
    """  # noqa: D301  (click reads the \b)
    from ammup.gate.depth_baseline import DepthBaseline
    from ammup.gate.depth_check import Allowed, check_law
    from ammup.stats.verdicts import HOLDS

    _check_files(plot, baseline, junit)
    stored = DepthBaseline.read(baseline) if baseline is not None and baseline.exists() else None
    if expected is None and baseline is None:
        raise InputError("pass --expected SLOPE, or --baseline FILE to record the slope of this run")
    loaded = batch.load(family, progress=not as_json)
    first = expected is None and stored is None
    if stored is not None:
        expected = stored.slope if expected is None else expected
        seeds = stored.seeds if seeds is None else seeds
    allowed = Allowed(expected=expected, margin=margin, level=level, max_depth_drift=max_depth_drift)
    found = check_law(loaded.factory, depths, loaded.spec, allowed, seeds=seeds, progress=not as_json)
    about = f"{loaded.heading(found.draws)}, part {loaded.spec.part}"
    if stored is not None:
        found = stored.against(found, about)
    elif baseline is not None and (first or found.outcome == HOLDS):
        # Without --expected the first curve is recorded whatever it is; with it, only one that holds.
        DepthBaseline.from_check(found, about).write(baseline)
        click.echo(f"recorded: {baseline}", err=True)
    _report(found, about, plot=plot, junit=junit, as_json=as_json)
    sys.exit(0 if found.outcome == HOLDS else 1)


def _check_files(plot: Path | None, baseline: Path | None, junit: Path | None) -> None:
    """Reject paths that cannot be written before anything is measured."""
    if plot is not None:
        check_new_figure(plot)
    for path in (baseline, junit):
        if path is not None:
            check_folder(path)


def _report(check: "DepthCheck", about: str, *, plot: Path | None, junit: Path | None, as_json: bool) -> None:
    """Write the files that were asked for, and print the result."""
    if plot is not None:
        from ammup.report.plots import plot_depth_law, save

        save(plot_depth_law(check.law, title=about), plot)
    if junit is not None:
        _write_junit(check, about, junit)
    if as_json:
        click.echo(json.dumps({"about": about, **check.to_dict()}, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(f"{about}\n{check.report()}")


def _write_junit(check: "DepthCheck", about: str, path: Path) -> None:
    """One test case: a failure where the slope does not hold or is open."""
    found = check.to_dict()
    failed = check.outcome != "holds"
    suite = ElementTree.Element("testsuite", name="ammup check", tests="1", failures=str(int(failed)), errors="0")
    case = ElementTree.SubElement(suite, "testcase", classname="ammup.check", name=about)
    properties = ElementTree.SubElement(case, "properties")
    for name in ("slope", "slope_ci", "region", "seeds", "cause"):
        ElementTree.SubElement(properties, "property", name=name, value=str(found[name]))
    if failed:
        ElementTree.SubElement(case, "failure", message=check.outcome).text = check.report()
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
