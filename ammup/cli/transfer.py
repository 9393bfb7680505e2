"""`ammup transfer`: transfer a tuned learning rate to another depth by every rule."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ammup.cli.batch import Batch, BatchOptions, batch_options

if TYPE_CHECKING:  # imported when a verb runs, so that --help stays fast
    import pandas as pd

    from ammup.measurement.depth_law import DepthLaw


@click.command()
@click.argument("family", default="cnn", metavar="[FAMILY|PACKAGE.MODULE:FACTORY]")
@click.option("--lr", type=float, required=True, help="Tuned learning rate.")
@click.option("--from", "from_depth", type=click.IntRange(1), required=True, help="Depth at which it was tuned.")
@click.option("--to", "to_depth", type=click.IntRange(1), required=True, help="Depth to transfer it to.")
@click.option("--seeds", type=click.IntRange(2), default=16, show_default=True, help="Weight draws at each depth.")
@batch_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def transfer(
    family: str, lr: float, from_depth: int, to_depth: int, seeds: int, batch: BatchOptions, as_json: bool
) -> None:
    """Transfer a learning rate from one depth to another by every rule.

    The rule "measured" needs no formula for the architecture: it scales the learning rate like η*, which is measured at
    both depths on one batch. Its interval reflects the measurement error. FAMILY is as in `ammup exponent`.

    \b
    Examples:
      ammup transfer --lr 0.1 --from 8 --to 32
      ammup transfer my_package.models:make_net --lr 0.1 --from 4 --to 16 --data ~/cifar10
    """  # noqa: D301  (click reads the \b)
    from ammup.errors import InputError
    from ammup.measurement.depth_law import measure_depth_law
    from ammup.transfer.carry import transfer_lr

    transfer_lr(lr, from_depth, to_depth, rule="constant")  # raises for an invalid lr before the measurement
    if from_depth == to_depth:
        raise InputError(
            f"--from {from_depth} and --to {to_depth} are equal: the learning rate does not change; give another depth"
        )
    loaded = batch.load(family, progress=not as_json)
    depths = sorted((from_depth, to_depth))
    law = measure_depth_law(loaded.factory, depths, loaded.spec, seeds=seeds, progress=not as_json)
    rules = _rules(lr, from_depth, to_depth, loaded=loaded, law=law)
    heading = f"{loaded.heading(law.draws)}; lr {lr:g} at L = {from_depth} transferred to L = {to_depth}"
    _print(rules, heading, as_json=as_json)


def _rules(lr: float, from_depth: int, to_depth: int, *, loaded: Batch, law: "DepthLaw") -> "pd.DataFrame":
    """The table of every rule that applies to the measured net."""
    from ammup.models.depth import structure_of
    from ammup.models.factory import build_model
    from ammup.transfer.carry import transfer_table

    example = loaded.spec.inputs[:2]
    structures = {d: structure_of(build_model(loaded.factory, d, 0), example) for d in sorted((from_depth, to_depth))}
    path_sums = {depth: structure.path_sum() for depth, structure in structures.items()}
    finite_depth = law.finite_depth
    return transfer_table(
        lr,
        from_depth,
        to_depth,
        measured=law,
        law=None if finite_depth is None else lambda at_depths: [finite_depth[d] for d in at_depths],
        path_sums=path_sums if all(path_sums.values()) else None,
    )


def _print(rules: "pd.DataFrame", heading: str, *, as_json: bool) -> None:
    """Print the table, or its rows as JSON."""
    if as_json:
        rows = [_json_row(row) for row in rules.to_dict("records")]
        click.echo(json.dumps({"heading": heading, "rules": rows}, ensure_ascii=False))
        return
    from ammup.report.terminal import show
    from ammup.report.text import transfer_text

    show(transfer_text(rules, heading=heading))


def _json_row(row: Mapping[Any, Any]) -> dict[str, str | float | None]:
    """A row with its texts, and its numbers as JSON numbers."""
    from ammup.format import json_number

    return {name: value if isinstance(value, str) else json_number(value) for name, value in row.items()}
