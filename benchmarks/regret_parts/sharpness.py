"""The sharpness of the nets of stored sweeps at initialization, measured once and stored in a table."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from ammup.experiments.block import worker_context
from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.measurement.sharpness import SharpnessMeasurement
from ammup.measurement.specification import MeasurementSpec

TABLE = Path(__file__).parents[2] / "baselines" / "sweeps" / "sharpness.csv"
COLUMNS = ("experiment", "key", "depth", "seed", "sharpness", "error", "passes", "seconds")
IMAGES = 128


def read(path: Path = TABLE) -> pd.DataFrame:
    """The stored measurements, one row for each experiment, depth and weight draw."""
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=list(COLUMNS))


def of(record: SweepRecord, table: pd.DataFrame) -> dict[int, list[float]]:
    """For each depth of a sweep, 2/λ of all weight draws; empty if nothing is stored for these nets."""
    rows = table[table["key"] == record.experiment.key]
    return {int(str(depth)): (2 / group).tolist() for depth, group in rows.groupby("depth")["sharpness"]}


def measure_missing(
    records: Mapping[str, SweepRecord], *, draws: int, data: str | None = None, path: Path = TABLE
) -> None:
    """Measure all draws that are not in the table, and write the table after each depth.

    Args:
        records: the sweeps, by name.
        draws: weight draws at each depth, with the seeds 0, 1, ….
        data: a folder of images in place of the data set that a record names.
        path: the table.
    """
    torch.set_num_threads(1)
    table = read(path)
    for name, record in records.items():
        experiment = record.experiment
        changes = [] if data is None else [f"data.source={json.dumps(data)}"]
        context = worker_context(Experiment.from_toml(experiment.to_toml(), changes=changes).to_toml(), "cpu")
        images, labels = next(context.feed.training_batches(draws, 1))
        spec = MeasurementSpec(inputs=images[:IMAGES], targets=labels[:IMAGES], loss="cross_entropy")
        for depth in experiment.grid.depths:
            known = set(table[(table["key"] == experiment.key) & (table["depth"] == depth)]["seed"])
            rows = []
            for seed in sorted(set(range(draws)) - known):
                start = time.process_time()
                model = context.build(depth)(seed).train()
                found = SharpnessMeasurement(model=model, spec=spec, stream=(depth, seed)).by_method()
                seconds = time.process_time() - start
                values = (found.eigenvalue, found.error, found.passes, round(seconds, 2))
                rows.append((name, experiment.key, depth, seed, *values))
            if rows:
                print(f"{name}: L = {depth}, {len(rows)} draws, {sum(r[-1] for r in rows):.0f} CPU seconds", flush=True)
                new = pd.DataFrame(rows, columns=list(COLUMNS))
                table = new if table.empty else pd.concat([table, new], ignore_index=True)
                table.to_csv(path, index=False, float_format="%.6g")
