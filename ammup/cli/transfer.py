"""`ammup transfer`: transfer a tuned learning rate to other depths by every rule, and recommend one."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ammup.cli.batch import Batch, BatchOptions, batch_options
from ammup.cli.transfer_options import MeasuringOptions, grouped_options
from ammup.transfer.setting import TrainingSetting

if TYPE_CHECKING:  # imported when a verb runs, so that --help stays fast
    import pandas as pd

    from ammup.measurement.depth_law import DepthLaw
    from ammup.transfer.measured_curve import Measured


def _parse_targets(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """The depths of a repeated option, each a comma-separated list (a click callback)."""
    try:
        depths = [int(part) for value in values for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{','.join(values)!r} is not a depth or a comma-separated list of depths") from None
    wrong = [depth for depth in depths if depth < 1]
    if wrong:
        raise click.BadParameter(f"{wrong[0]} is not in the range x>=1.")
    return tuple(dict.fromkeys(depths))


@click.command()
@click.argument("family", default="cnn", metavar="[FAMILY|PACKAGE.MODULE:FACTORY]")
@click.option("--lr", type=float, required=True, help="Tuned learning rate.")
@click.option("--from", "from_depth", type=click.IntRange(1), required=True, help="Depth at which it was tuned.")
@click.option(
    "--to",
    "to_depths",
    callback=_parse_targets,
    multiple=True,
    required=True,
    metavar="DEPTH[,DEPTH…]",
    help="Depths to transfer it to; can be repeated.",
)
@click.option("--seeds", type=click.IntRange(2), default=16, show_default=True, help="Weight draws at each depth.")
@grouped_options
@batch_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def transfer(
    family: str,
    lr: float,
    from_depth: int,
    to_depths: tuple[int, ...],
    seeds: int,
    measuring: MeasuringOptions,
    setting: TrainingSetting,
    batch: BatchOptions,
    as_json: bool,
) -> None:
    """Transfer a learning rate from one depth to others by every rule, and recommend one.

    The rule "measured" needs no formula for the architecture: it scales the learning rate like η*, which is measured
    once at each depth on one batch. Its interval reflects the measurement error. Depths between --from and --to (other
    --to) show whether η* changes regularly. With --sharpness, two more rules scale it like 2/λ, with the largest
    eigenvalue λ of the Gauss-Newton matrix; with --probe-edges or --edges, one like the largest rate that trains. The
    price of a rule is the cost of its measurement in training steps. FAMILY is as in `ammup exponent`.

    \b
    Examples:
      ammup transfer --lr 0.1 --from 8 --to 16,32
      ammup transfer my_package.models:make_net --lr 0.1 --from 4 --to 16 --data ~/cifar10 --momentum 0.9
      ammup transfer my_package.models:make_net --lr 0.1 --from 1 --to 3,5 --data ~/cifar10 --probe-edges
    """  # noqa: D301  (click reads the \b)
    from ammup.errors import InputError
    from ammup.transfer.tuned_lr import check_lr

    check_lr(lr)  # before the measurement, and before PyTorch is imported
    if from_depth in to_depths:
        raise InputError(
            f"--from {from_depth} and --to {from_depth} are equal: the learning rate does not change; give another "
            "depth"
        )
    measuring.edges.check()
    depths = tuple(sorted({from_depth, *to_depths}))
    batch.check(family, depths)
    from ammup.measurement.depth_exponent import measure_depth_law

    loaded = batch.load(family, progress=not as_json)
    law = measure_depth_law(loaded.factory, depths, loaded.spec, seeds=seeds, progress=not as_json)
    curves: dict[str, Measured | None] = {
        "sharpness": measuring.sharpness.measure(loaded, depths, progress=not as_json),
        "edges": measuring.edges.measure(loaded, depths, lr, progress=not as_json),
        "late": measuring.late.measure(loaded, depths, lr, progress=not as_json),
    }
    rules = _rules(lr, (from_depth, to_depths), loaded=loaded, law=law, curves=curves, setting=setting)
    ends = ", ".join(str(depth) for depth in to_depths)
    _print(
        rules, f"{loaded.heading(law.draws)}; lr {lr:g} at L = {from_depth} transferred to L = {ends}", as_json=as_json
    )


def _rules(
    lr: float,
    depths: tuple[int, tuple[int, ...]],
    *,
    loaded: Batch,
    law: "DepthLaw",
    curves: "Mapping[str, Measured | None]",
    setting: TrainingSetting,
) -> "pd.DataFrame":
    """The table of every rule that applies to the measured net."""
    from ammup.models.depth import structure_of
    from ammup.models.factory import build_model
    from ammup.transfer.carry import transfer_table

    from_depth, to_depths = depths
    example = loaded.spec.inputs[:2]
    structures = {d: structure_of(build_model(loaded.factory, d, 0), example) for d in sorted({from_depth, *to_depths})}
    path_sums = {depth: structure.path_sum() for depth, structure in structures.items()}
    finite_depth = law.finite_depth
    return transfer_table(
        lr,
        from_depth,
        to_depths,
        measured=law,
        sharpness=curves["sharpness"],
        edges=curves["edges"],
        late=curves["late"],
        law=None if finite_depth is None else lambda at_depths: [finite_depth[d] for d in at_depths],
        path_sums=path_sums if all(path_sums.values()) else None,
        setting=setting,
    )


def _print(rules: "pd.DataFrame", heading: str, *, as_json: bool) -> None:
    """Print the table with its recommendations and warnings, or all of it as JSON."""
    if as_json:
        rows = [_json_row(row) for row in rules.to_dict("records")]
        click.echo(json.dumps({"heading": heading, "rules": rows, **rules.attrs}, ensure_ascii=False, allow_nan=False))
        return
    from ammup.report.terminal import show
    from ammup.report.text import transfer_text

    show(transfer_text(rules, heading=heading))


def _json_row(row: Mapping[Any, Any]) -> dict[str, str | float | bool | None]:
    """A row with its texts, and its numbers as JSON numbers."""
    from ammup.format import json_number

    return {name: value if isinstance(value, str | bool) else json_number(value) for name, value in row.items()}
