"""`ammup check`: test in continuous integration that η* of a model falls with depth as expected."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import click

from ammup.cli.batch import BatchOptions, batch_options, parse_depths
from ammup.cli.files import check_folder, check_new_figure
from ammup.errors import InputError

if TYPE_CHECKING:
    from ammup.gate.depth_check import DepthCheck

MARGIN = 0.15


@click.command()
@click.argument("family", metavar="FAMILY|PACKAGE.MODULE:FACTORY")
@click.option("--depths", callback=parse_depths, default="4,8,16,32", show_default=True, help="Depths to measure.")
@click.option(
    "--expected", type=float, help="Expected slope of log η* on log L, with its sign.  [default: the baseline's]"
)
@click.option(
    "--margin", type=float, default=MARGIN, show_default=True, help="Largest accepted distance from the expected slope."
)
@click.option("--max-depth-drift", type=float, help="Largest accepted change of the slope with depth.")
@click.option("--level", type=float, default=0.95, show_default=True, help="Confidence level of the interval.")
@click.option("--seeds", type=click.IntRange(2), help="Weight draws at each depth.  [default: as many as needed]")
@batch_options
@click.option("--baseline", type=click.Path(path_type=Path, dir_okay=False),
              help="Record the result in this file, or compare with it if it exists.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Save a figure of the law to a new file.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write a JUnit XML report.")
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
    """Check that the slope of log η* on log L has the expected value.

    Exit code 0 if the confidence interval lies inside EXPECTED ± MARGIN; 1 if it lies outside, or if the result is
    inconclusive (the message names the option to increase); 2 for invalid input. With --baseline FILE, the first run
    records the curve and later runs compare with it; commit the file. FAMILY is as in `ammup exponent`.

    \b
    Examples:
      ammup check my_package.models:make_net --depths 4,8,16,32 --expected -1.0 --margin 0.15
      ammup check my_package.models:make_net --data ~/cifar10 --image-size 16 --baseline depth.json
      ammup check cnn --depths 2,4,8 --expected -1.2 --margin 0.3 --junit report.xml --plot law.png
    """  # noqa: D301  (click reads the \b)
    from ammup.gate.depth_baseline import DepthBaseline
    from ammup.gate.depth_check import Allowed, check_law
    from ammup.stats.verdicts import HOLDS

    _check_writable(plot, baseline, junit)
    stored = DepthBaseline.read(baseline) if baseline is not None and baseline.exists() else None
    if expected is None and baseline is None:
        raise InputError("pass --expected SLOPE, or --baseline FILE to record the slope of this run")
    loaded = batch.load(family, progress=not as_json)
    first = expected is None and stored is None
    if stored is not None:
        expected = stored.slope if expected is None else expected
        seeds = stored.seeds if seeds is None else seeds
    allowed = Allowed(expected=expected, margin=margin, level=level, max_depth_drift=max_depth_drift)
    result = check_law(loaded.factory, depths, loaded.spec, allowed, seeds=seeds, progress=not as_json)
    about = f"{loaded.heading(result.draws)}, part {loaded.spec.part}"
    if stored is not None:
        result = stored.against(result, about)
    elif baseline is not None and (first or result.outcome == HOLDS):
        # Without --expected the first curve is always recorded; with --expected, only if the check holds.
        DepthBaseline.from_check(result, about).write(baseline)
        click.echo(f"recorded: {baseline}", err=True)
    _report(result, about, plot=plot, junit=junit, as_json=as_json)
    sys.exit(0 if result.outcome == HOLDS else 1)


def _check_writable(plot: Path | None, baseline: Path | None, junit: Path | None) -> None:
    """Raise InputError for a path that cannot be written, before anything is measured."""
    if plot is not None:
        check_new_figure(plot)
    for path in (baseline, junit):
        if path is not None:
            check_folder(path)


def _report(check: "DepthCheck", about: str, *, plot: Path | None, junit: Path | None, as_json: bool) -> None:
    """Write the requested files and print the result."""
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
    """Write a report with one test case, which fails if the slope does not hold or the check is inconclusive."""
    values = check.to_dict()
    failed = check.outcome != "holds"
    suite = ElementTree.Element("testsuite", name="ammup check", tests="1", failures=str(int(failed)), errors="0")
    case = ElementTree.SubElement(suite, "testcase", classname="ammup.check", name=about)
    properties = ElementTree.SubElement(case, "properties")
    for name in ("slope", "slope_ci", "region", "seeds", "cause"):
        ElementTree.SubElement(properties, "property", name=name, value=str(values[name]))
    if failed:
        ElementTree.SubElement(case, "failure", message=check.outcome).text = check.report()
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
