"""`ammup check`: test in continuous integration that η* of a model falls with depth as expected."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import click

from ammup.cli.batch import BatchOptions, batch_options, parse_depths
from ammup.cli.files import check_folder, check_new_figure
from ammup.errors import InputError
from ammup.stats.verdicts import HOLDS, INCONCLUSIVE

if TYPE_CHECKING:
    from ammup.gate.check_result import DepthCheck

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
@click.option(
    "--seed-root", type=click.IntRange(0), default=0, show_default=True, help="Draw the weights from these seeds."
)
@batch_options
@click.option("--baseline", type=click.Path(path_type=Path, dir_okay=False),
              help="Record the result in this file, or compare with it if it exists.")  # fmt: skip
@click.option("--record", is_flag=True,
              help="Record the baseline even if the file exists or CI is set in the environment.")  # fmt: skip
@click.option("--inconclusive-code", type=click.IntRange(0, 255), default=1, show_default=True,
              help="Exit code of an inconclusive result; 0 lets it pass.")  # fmt: skip
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
    seed_root: int,
    batch: BatchOptions,
    baseline: Path | None,
    record: bool,
    inconclusive_code: int,
    plot: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Check that the slope of log η* on log L has the expected value.

    Exit code 0 if the confidence interval lies inside EXPECTED ± MARGIN. Exit code 1 if it lies outside ("does not
    hold"), or if η* differs from the baseline beyond the standard errors of both or the number of depth units differs
    ("moved"). Exit code --inconclusive-code if the result is inconclusive (the message names the option to increase).
    Exit code 2 for invalid input.

    With --baseline FILE, the first run records the curve and later runs compare with it; commit the file. If the
    environment variable CI is set, as CI services do, a missing FILE is invalid input: nothing can be compared. FAMILY
    is as in `ammup exponent`.

    \b
    Examples:
      ammup check my_package.models:make_net --depths 4,8,16,32 --expected -1.0 --margin 0.15
      ammup check my_package.models:make_net --data ~/cifar10 --image-size 16 --baseline depth.json
      ammup check my_package.models:make_net --data ~/cifar10 --image-size 16 --baseline depth.json --record
      ammup check cnn --depths 2,4,8 --expected -1.2 --margin 0.3 --junit report.xml --plot law.png
    """  # noqa: D301  (click reads the \b)
    started = time.perf_counter()
    if expected is None and baseline is None:
        raise InputError("pass --expected SLOPE, or --baseline FILE to record the slope of this run")
    if baseline is None and record:
        raise InputError("--record was given without --baseline FILE; add the file to record")
    _check_writable(plot, baseline, junit)
    batch.check(family, depths)
    from ammup.gate.allowed import Allowed, Draws
    from ammup.gate.depth_baseline import read_baseline
    from ammup.gate.law_check import BaselineFile, check_law

    if baseline is not None:
        read_baseline(baseline, record=record)  # an invalid or missing file is reported before the images are loaded
    loaded = batch.load(family, progress=not as_json)
    allowed = Allowed(expected=expected, margin=margin, level=level, max_depth_drift=max_depth_drift)
    about = f"{loaded.about}, part {loaded.spec.part}"
    run = check_law if baseline is None else BaselineFile(path=baseline, about=about, record=record).check
    draws = Draws(seeds=seeds, root=seed_root)
    result = run(loaded.factory, depths, loaded.spec, allowed, draws=draws, progress=not as_json)
    if result.recorded:
        click.echo(f"recorded: {baseline}", err=True)
    code = {HOLDS: 0, INCONCLUSIVE: inconclusive_code}.get(result.outcome, 1)
    if junit is not None:
        seconds = time.perf_counter() - started
        _write_junit(result, _case_name(about, result), junit, seconds=seconds, failed=code != 0)
    _report(result, about, plot=plot, as_json=as_json)
    sys.exit(code)


def _check_writable(plot: Path | None, baseline: Path | None, junit: Path | None) -> None:
    """Raise InputError for a path that cannot be written, before anything is measured."""
    if plot is not None:
        check_new_figure(plot)
    for path in (baseline, junit):
        if path is not None:
            check_folder(path)


def _report(check: "DepthCheck", about: str, *, plot: Path | None, as_json: bool) -> None:
    """Save the requested figure and print the result."""
    if plot is not None:
        from ammup.report.plots import plot_depth_law, save

        save(plot_depth_law(check.law, title=about), plot)
    if as_json:
        click.echo(json.dumps({"about": about, **check.to_dict()}, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(f"{about}\n{check.report()}")


def _case_name(about: str, check: "DepthCheck") -> str:
    """The name of the JUnit test case: the same in every run with the same options."""
    return f"{about}, depths {', '.join(str(depth) for depth in check.law.units)}"


def _write_junit(check: "DepthCheck", name: str, path: Path, *, seconds: float, failed: bool) -> None:
    """Write a report with one test case. It is skipped if the check does not hold and is not to fail either."""
    values = check.to_dict()
    skipped = not failed and check.outcome != HOLDS
    duration = f"{seconds:.3f}"
    counts = {"tests": "1", "failures": str(int(failed)), "skipped": str(int(skipped)), "errors": "0", "time": duration}
    suite = ElementTree.Element("testsuite", {"name": "ammup check", **counts})
    case = ElementTree.SubElement(suite, "testcase", classname="ammup.check", name=name, time=duration)
    properties = ElementTree.SubElement(case, "properties")
    for one in ("outcome", "slope", "slope_ci", "region", "seeds", "moved", "note", "cause"):
        ElementTree.SubElement(properties, "property", name=one, value=str(values[one]))
    if failed or skipped:
        kind = "failure" if failed else "skipped"
        ElementTree.SubElement(case, kind, message=check.outcome).text = check.report()
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
