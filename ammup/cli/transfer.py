"""`ammup transfer`: a tuned learning rate, carried to another depth by every rule."""

import json

import click

from ammup.cli.batch import BatchOptions, takes_batch


@click.command()
@click.argument("family", default="cnn", metavar="[FAMILY|PACKAGE.MODULE:FACTORY]")
@click.option("--lr", type=float, required=True, help="The learning rate that was tuned.")
@click.option("--from", "from_depth", type=click.IntRange(1), required=True, help="The depth it was tuned at.")
@click.option("--to", "to_depth", type=click.IntRange(1), required=True, help="The depth that wants one.")
@click.option("--seeds", type=click.IntRange(2), default=16, show_default=True, help="Weight draws at each depth.")
@takes_batch
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def transfer(
    family: str, lr: float, from_depth: int, to_depth: int, seeds: int, batch: BatchOptions, as_json: bool
) -> None:
    """Carry a learning rate from one depth to another, by every rule side by side.

    The rule "measured" needs no formula for the architecture: the tuned rate goes like η*, which is measured at both
    depths on one batch. Its interval is that of the measurement. FAMILY as for `ammup exponent`.

    \b
    Examples:
      ammup transfer --lr 0.1 --from 8 --to 32
      ammup transfer my_package.models:make_net --lr 0.1 --from 4 --to 16 --data ~/cifar10
    """  # noqa: D301  (click reads the \b)
    from ammup.errors import InputError
    from ammup.format import json_number
    from ammup.measurement.depth_law import measure_depth_law
    from ammup.models.depth import structure_of
    from ammup.models.factory import build_model
    from ammup.transfer.carry import transfer_lr, transfer_table

    transfer_lr(lr, from_depth, to_depth, rule="constant")  # an unusable lr is told before anything is measured
    if from_depth == to_depth:
        raise InputError(f"--from {from_depth} and --to {to_depth} are one depth: the learning rate stays what it is")
    loaded = batch.load(family, progress=not as_json)
    depths = sorted((from_depth, to_depth))
    law = measure_depth_law(loaded.factory, depths, loaded.spec, seeds=seeds, progress=not as_json)
    example = loaded.spec.inputs[:2]
    sums = {d: structure_of(build_model(loaded.factory, d, 0), example).path_sum() for d in depths}
    known = law.finite_depth
    rules = transfer_table(
        lr,
        from_depth,
        to_depth,
        measured=law,
        law=None if known is None else lambda wanted: [known[d] for d in wanted],
        path_sums=sums if all(sums.values()) else None,
    )
    heading = f"{loaded.heading(law.draws)}; lr {lr:g} at L = {from_depth} carried to L = {to_depth}"
    if as_json:
        rows = [
            {k: v if isinstance(v, str) else json_number(v) for k, v in row.items()} for row in rules.to_dict("records")
        ]
        click.echo(json.dumps({"heading": heading, "rules": rows}, ensure_ascii=False))
        return
    from ammup.report.terminal import show
    from ammup.report.text import transfer_text

    show(transfer_text(rules, heading=heading))
