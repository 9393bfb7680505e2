"""Measure the pools of weight draws from which benchmarks/gate_repeats.py resamples checks.

    python benchmarks/gate_pools.py --records gate.jsonl --minutes 30
    python benchmarks/gate_pools.py --records gate.jsonl --pack baselines/pools/gate.npz

S̄ of each weight draw is measured once for sixteen models and for each model with each of its faults, with the seeds
0, 1, … . Every 32 draws are a line of the file of records, so that the same command continues after an interruption.
"""

import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the ammup of this checkout

import click
import torch
from gate_parts import pools
from gate_parts.subjects import subjects

# Draws of a correct model and of a faulty one.
STAGES = ((64, 32), (320, 32), (320, 64), (640, 96))


@click.command(help=__doc__)
@click.option("--records", type=click.Path(path_type=Path), required=True, help="File of the measured draws.")
@click.option("--only", default="", help="Regular expression of the models.")
@click.option("--stages", default=len(STAGES), show_default=True, help="How many of the stages to measure.")
@click.option("--minutes", default=60.0, show_default=True, help="CPU time of this run.")
@click.option("--pack", type=click.Path(path_type=Path), help="Only store the measured draws in this compressed file.")
def main(records: Path, only: str, stages: int, minutes: float, pack: Path | None) -> None:
    if pack is not None:
        pools.pack(pools.pooled(pools.read(records)), pack)
        return
    torch.set_num_threads(1)
    chosen = {name: subject for name, subject in subjects().items() if re.search(only, name)}
    pools.measure(records, chosen, STAGES[:stages], minutes)


if __name__ == "__main__":
    main()
