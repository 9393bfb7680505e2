"""The command line: one library call for each verb. Exit code 0 done, 1 claim or gate failed, 2 bad input."""

import ast
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ammup.errors import InputError, unknown

if TYPE_CHECKING:  # the libraries behind a verb are imported when it runs: --help answers at once
    from ammup.suite.baselines import Comparison


class _BadInput(click.ClickException):
    exit_code = 2


class _Cli(click.Group):
    """Shows what could not be used, read or written as one line and exits with 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader has gone; click ends quietly
        except (InputError, OSError) as error:
            raise _BadInput(str(error)) from error


def _depths(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers such as 4,8,16,32") from None


def _settings(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is a Python literal, or a word such as zero."""
    settings = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE")
        try:
            settings[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            settings[name] = text
    return settings


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="ammup")
def cli() -> None:
    """How the learning rate of your network must change with depth: measured, fitted, tested.

    \b
    Example:
      ammup exponent                       # a CNN on synthetic images, in seconds
      ammup exponent resnet --data ~/cifar10 --plot law.png
    """  # noqa: D301  (click reads the \b)


@cli.command()
@click.argument("family", default="cnn", metavar="[FAMILY|PACKAGE.MODULE:FACTORY]")
@click.option("--depths", callback=_depths, default="4,8,16,32", show_default=True, help="Depths to measure.")
@click.option("--width", type=click.IntRange(1), help="Width of every unit.  [default: 128]")
@click.option("--seeds", type=click.IntRange(1), default=16, show_default=True, help="Weight draws at each depth.")
@click.option("--data", default="synthetic", show_default=True, help="synthetic, cifar10, cifar100, a folder or .npz.")
@click.option("--image-size", type=click.IntRange(1), help="Resize images to this side.  [default: 8 if synthetic]")
@click.option("--batch-size", type=click.IntRange(1), help="Images in the step.  [default: 32, or all there are]")
@click.option("--loss", type=click.Choice(["cross_entropy", "mse"]), default="cross_entropy", show_default=True)
@click.option("--part", type=click.Choice(["total", "label", "output"]), default="total", show_default=True)
@click.option("--labels", type=click.Choice(["data", "drawn"]), help="[default: data; drawn for mse]")
@click.option("--set", "settings", callback=_settings, multiple=True, metavar="NAME=VALUE",
              help="Any other argument of the factory, as often as there are some.")  # fmt: skip
@click.option("--device", help="Where to measure.  [default: cuda if there is one, else cpu]")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the law into a new file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def exponent(
    family: str,
    depths: tuple[int, ...],
    width: int | None,
    seeds: int,
    data: str,
    image_size: int | None,
    batch_size: int | None,
    loss: str,
    part: str,
    labels: str | None,
    settings: dict[str, Any],
    device: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure how the maximal-update learning rate η* falls with depth, without training.

    FAMILY is mlp, cnn or resnet (default: cnn), or your own PACKAGE.MODULE:FACTORY, called as factory(depth, seed=...),
    which must return an nn.Module that takes images (batch, channels, height, width). That module is imported and run.

    \b
    Examples:
      ammup exponent
      ammup exponent resnet --depths 4,8,16 --set branch=2 --set scaled=last --plot law.png
      ammup exponent cnn --data ~/cifar10 --image-size 16
      ammup exponent mlp --loss mse --part label --batch-size 1 --set readout=he
      ammup exponent my_package.models:make_net --data ~/cifar10 --json
    """  # noqa: D301  (click reads the \b)
    if plot is not None:
        _check_new_file(plot)
    if image_size is None and data == "synthetic":
        image_size = 8
    from ammup.measurement.data import load_data
    from ammup.measurement.depth_law import depth_exponent
    from ammup.measurement.factory import default_device, named_factory

    images = load_data(data, image_size=image_size, progress=not as_json)
    inputs, classes = images.batch(batch_size or min(32, len(images.train_images)))
    arguments = settings if width is None else {"width": width, **settings}
    law = depth_exponent(
        named_factory(family, images, arguments),
        depths,
        inputs=inputs,
        targets=classes if (labels or ("data" if loss == "cross_entropy" else "drawn")) == "data" else None,
        loss=loss,
        part=part,
        seeds=seeds,
        device=device or default_device(),
        progress=not as_json,
    )
    shape = "×".join(str(n) for n in inputs.shape[1:])
    count = f"{len(inputs)} image{'' if len(inputs) == 1 else 's'} of {shape}"
    draws = len(law.table) // len(law.S)  # one where the factory draws nothing
    heading = f"{family} on {Path(data).name}: {count}, {loss}, weight draws at each depth: {draws}"
    if plot is not None:
        from ammup.report.plots import plot_depth_law, save

        save(plot_depth_law(law, title=heading), plot)
    if as_json:
        click.echo(json.dumps({"family": family, "heading": heading, **law.to_dict()}, allow_nan=False))
        return
    from ammup.report.terminal import show
    from ammup.report.text import depth_law_text

    show(depth_law_text(law, heading=heading))
    if plot is not None:
        click.echo(f"figure: {plot}")


@cli.command()
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
    from ammup.suite import baselines

    records = baselines.read()
    problems: list[str] = []
    if seed_root and not measure:
        raise InputError("--seed-root draws other weights; give --measure with it")
    if measure:
        records, problems = _measured(name, seed_root, progress=not as_json)
    elif name is not None and name not in records:
        raise unknown("claim", name, records, "`ammup claims` lists them")
    chosen = [record for record in records.values() if name in (None, record["id"])]
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


def _measured(name: str | None, root: int, *, progress: bool) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Records of the claims, measured now, and where they disagree with the baselines."""
    from ammup.progress import tracked
    from ammup.suite.claims import claim_named
    from ammup.suite.ledger import alarms, measure
    from ammup.suite.statements import CLAIMS

    wanted = CLAIMS if name is None else (claim_named(CLAIMS, name),)
    found = list(tracked(measure(wanted, root=root), "measuring", len(wanted), show=progress))
    problems = [f"{comparison.id}: {problem}" for comparison in found for problem in alarms(comparison)]
    return {comparison.id: comparison.new for comparison in found}, problems


@cli.group()
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
    from ammup.suite.claims import claim_named
    from ammup.suite.ledger import update
    from ammup.suite.statements import CLAIMS

    if not reason.strip():
        raise InputError("--reason is empty; say why the figures may move")
    chosen = [claim_named(CLAIMS, name) for name in names] if names else list(CLAIMS)

    def report(comparison: "Comparison", written: bool) -> None:
        old, new = comparison.old, comparison.new
        before = f"{old['estimate']:.6g} ({old['verdict']})" if old else "nothing"
        state = "written" if written else "REFUSED" if comparison.moved else "unmoved"
        click.echo(f"{comparison.id}: {before} → {new['estimate']:.6g} ({new['verdict']})  {state}")

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
    from ammup.suite.baselines import at_commit, differences

    found = differences(at_commit(before), at_commit(after))
    if as_json:
        click.echo(json.dumps([{"id": name, "before": a, "after": b} for name, a, b in found], ensure_ascii=False))
        return
    for name, a, b in found:
        old, new = (f"{r['estimate']:.6g} ± {r['se']:.2g} ({r['verdict']})" if r else "nothing" for r in (a, b))
        click.echo(f"{name}: {old} → {new}")
    click.echo(f"{len(found)} of the claims differ")


def _check_new_file(path: Path) -> None:
    """Refuse, before anything is computed, a figure that could not be written or would replace a file."""
    from ammup.report.plots import check_format

    check_format(path)
    if path.exists():
        raise InputError(f"{path} exists; give another name, or remove it first")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.absolute().parent} does not exist")


def main() -> None:
    """Entry point of the command ``ammup``."""
    cli(prog_name="ammup")
