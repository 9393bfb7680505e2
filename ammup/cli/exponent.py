"""`ammup exponent`: measure how η* falls with depth, without training."""

import json
import shlex
from pathlib import Path

import click

from ammup.cli.batch import BatchOptions, batch_options, parse_depths
from ammup.cli.files import check_new_figure


@click.command()
@click.argument("family", default="cnn", metavar="[FAMILY|PACKAGE.MODULE:FACTORY]")
@click.option("--depths", callback=parse_depths, default="2,4,8,16", show_default=True, help="Depths to measure.")
@click.option("--seeds", type=click.IntRange(1), default=24, show_default=True, help="Weight draws at each depth.")
@batch_options
@click.option(
    "--measure",
    type=click.Choice(["updates", "sharpness"]),
    default="updates",
    show_default=True,
    help="Measure η* of the first update; with sharpness, also 2/λ, the largest stable learning rate.",
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Save a figure of the law to a new file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def exponent(
    family: str,
    depths: tuple[int, ...],
    seeds: int,
    batch: BatchOptions,
    measure: str,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure how the maximal-update learning rate η* falls with depth, without training.

    With --measure sharpness, also how 2/λ falls, where λ is the largest eigenvalue of the Gauss-Newton matrix of the
    loss: the largest learning rate at which gradient descent is stable at initialization.

    FAMILY is mlp, cnn or resnet (default: cnn), or your own PACKAGE.MODULE:FACTORY, called as factory(depth, seed=...),
    which must return an nn.Module that takes images (batch, channels, height, width). That module is imported and run.

    \b
    Examples:
      ammup exponent
      ammup exponent resnet --depths 4,8,16 --set branch=2 --set scaled=last --plot law.png
      ammup exponent cnn --data ~/cifar10 --image-size 16
      ammup exponent cnn --measure sharpness --plot law.png
      ammup exponent mlp --loss mse --part label --batch-size 1 --set readout=he
      ammup exponent my_package.models:make_net --data ~/cifar10 --json
    """  # noqa: D301  (click reads the \b)
    if plot is not None:
        check_new_figure(plot)
    batch.check(family, depths)
    from ammup.measurement.depth_exponent import measure_depth_law

    loaded = batch.load(family, progress=not as_json)
    law, *others = (
        measure_depth_law(loaded.factory, depths, loaded.spec, seeds=seeds, measure=name, progress=not as_json)
        for name in dict.fromkeys(("updates", measure))
    )
    sharpness = others[0] if others else None
    heading = loaded.heading(law.draws)
    if plot is not None:
        from ammup.report.plots import plot_depth_law, save

        save(plot_depth_law(law, title=heading, sharpness=sharpness), plot)
    if as_json:
        more = {} if sharpness is None else {"sharpness": sharpness.to_dict()}
        click.echo(json.dumps({"family": family, "heading": heading, **law.to_dict(), **more}, allow_nan=False))
        return
    from ammup.report.terminal import show
    from ammup.report.text import depth_law_text, interpretation

    show(depth_law_text(law, heading=heading, sharpness=sharpness))
    if plot is not None:
        click.echo(f"figure: {plot}")
    transfer = ["ammup", "transfer", family, "--lr", "0.1", "--from", str(min(depths)), "--to", str(max(depths))]
    command = shlex.join([*transfer, *batch.words])
    hint = "" if plot is not None else "; `ammup exponent … --plot law.png` saves a figure"
    click.echo(f"\n{interpretation(law)}\nNext: `{command}` transfers a tuned learning rate{hint}")
