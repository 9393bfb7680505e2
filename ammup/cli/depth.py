"""`ammup depth`: the depth units of a model, and their number by each convention."""

import json

import click

from ammup.cli.batch import parse_depths


def _parse_shape(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """The shape of one input from a comma-separated list of integers (a click callback)."""
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a shape such as 3,32,32") from None


@click.command()
@click.argument("family", metavar="FAMILY|PACKAGE.MODULE:FACTORY")
@click.option("--depths", callback=parse_depths, default="4,8", show_default=True, help="Depths to build.")
@click.option(
    "--convention",
    default="paper",
    show_default=True,
    help="paper, blocks, layers, relu, shortest or update-bearing: how depth is counted.",
)
@click.option(
    "--shape", callback=_parse_shape, help="Shape of one input, such as 3,32,32: run the model instead of tracing it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def depth(family: str, depths: tuple[int, ...], convention: str, shape: tuple[int, ...] | None, as_json: bool) -> None:
    """Print the depth units of a model, and their number by each convention.

    FAMILY is mlp, cnn or resnet; a model of torchvision:NAME, timm:NAME or hf:CONFIG, whose arguments for each depth
    are shown; or your own PACKAGE.MODULE:FACTORY, called as factory(depth, seed=...). That module is imported and run.
    A model that torch.fx cannot trace, such as nn.TransformerEncoder, needs --shape.

    Exit code 2 if two depths have the same number of units.

    \b
    Examples:
      ammup depth resnet --depths 4
      ammup depth my_package.models:make_net --depths 2,4,8 --convention layers
      ammup depth my_package.models:make_net --shape 3,32,32
      ammup depth timm:resnet18 --depths 4,8
    """  # noqa: D301  (click reads the \b)
    from ammup.models.names import check_factory_name, is_published

    check_factory_name(family)
    import torch

    from ammup.errors import check_known
    from ammup.models.depth import CONVENTIONS, check_depths_differ, structure_of
    from ammup.models.factory import build_model, family_factory
    from ammup.models.published import depth_arguments
    from ammup.stats.depths import checked_depths

    check_known("convention", convention, CONVENTIONS)
    example = None if shape is None else torch.zeros(2, *shape)
    factory = family_factory(family)
    structures = {d: structure_of(build_model(factory, d, 0), example) for d in checked_depths(depths)}
    counts = {d: {name: len(structure.units(name)) for name in CONVENTIONS} for d, structure in structures.items()}
    units = {d: structure.units(convention) for d, structure in structures.items()}
    shape_hint = "" if shape else "; or the traced model differs from the one that runs: pass --shape"
    remedy = f" in the convention {convention!r}: pass its depth on to the model, or another --convention{shape_hint}"
    check_depths_differ({d: len(names) for d, names in units.items()}, remedy=remedy)
    arguments = {d: depth_arguments(family, d) for d in units} if is_published(family) else {}
    if as_json:
        content = {"family": family, "convention": convention, "units": units, "counts": counts}
        click.echo(json.dumps(content | ({"arguments": arguments} if arguments else {})))
        return
    from ammup.report.terminal import show
    from ammup.report.text import depth_units_text

    for d, mapped in arguments.items():
        click.echo(f"{family} of depth {d}: " + ", ".join(f"{name} = {value}" for name, value in mapped.items()))
    show(depth_units_text(counts, units, heading=family, convention=convention))
