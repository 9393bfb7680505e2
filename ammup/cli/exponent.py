"""`ammup exponent`: how η* falls with depth, without training."""

import ast
import json
from pathlib import Path
from typing import Any

import click

from ammup.cli.files import check_new_figure


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


@click.command()
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
        check_new_figure(plot)
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
