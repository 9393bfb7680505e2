"""Which width, image size and number of images determine the slope of an optimum best for one CPU hour.

`measure` trains the ReLU CNN of Fig. 2(a) (He readout, one epoch of plain SGD) at three depths with each setting, one
depth and seed after another, and adds each to the record; after a kill, the same command continues. `table` prints,
from the record, for each setting:

* best: accuracy at the best learning rate, at the smallest and the largest depth.
* edge, smoothed: standard deviation between seeds of log10 of that optimum at one depth. A difference between seeds
  that all depths share is subtracted, because it does not change the slope. In brackets its 95 % chi-square interval.
* hours: CPU hours of one seed at the five depths of the small profile, whose costs are interpolated in the depth.
* edge/h, smoothed/h: the standard error of the slope over these five depths that one CPU hour buys.
* hours to 0.08, 0.15: CPU hours until the standard errors of the slopes of edge and smoothed optimum are that small.
* slope: of the edges, and its standard error.

    python benchmarks/profile_study.py measure --data ~/.cache/ammup/cifar10
    python benchmarks/profile_study.py table
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import ammup
from ammup.atomic import write_atomically
from ammup.experiments.changes import apply_change

RECORD = Path(__file__).parents[1] / "baselines" / "studies" / "profile.json"
DEPTHS, CHANCE = (3, 6, 12), 0.1
LRS = {"low": 0.01, "high": 10**0.6, "points": 14}  # 0.2 decades apart
PROFILE_DEPTHS = (3, 4, 6, 8, 12)
EDGE_GOAL, SMOOTHED_GOAL = 0.08, 0.15

Block = dict[str, Any]  # depth, seed, lrs, accuracies (None if the run diverged), CPU seconds


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One candidate profile.

    Attributes:
        width: channels.
        image_size: pixels on a side.
        train: number of training images, seen once.
        batch_size: images in a minibatch.
        seeds: number of seeds to train.
    """

    width: int
    image_size: int
    train: int
    batch_size: int = 128
    seeds: int = 4

    def __str__(self) -> str:
        batch = "" if self.batch_size == 128 else f", batch {self.batch_size}"
        return f"{self.width} channels, {self.image_size}x{self.image_size}, {self.train:,} images{batch}"

    @property
    def experiment(self) -> ammup.Experiment:
        """The experiment of this setting, with all depths and seeds."""
        return ammup.Experiment.from_toml(f"""
            name = "profile-study"
            model = {{factory = "cnn", arguments = {{width = {self.width}, readout = "he"}}}}
            data = {{source = "cifar10", image_size = {self.image_size}, train = {self.train}, validation = 5000}}
            grid.depths = {list(DEPTHS)}
            grid.seeds = {self.seeds}
            grid.lrs = {{low = {LRS["low"]}, high = {LRS["high"]}, points = {LRS["points"]}}}
            training = {{batch_size = {self.batch_size}}}
            strategy = "loop"
        """)


SETTINGS = (
    Setting(width=64, image_size=8, train=5_000),
    Setting(width=32, image_size=8, train=20_000),
    Setting(width=64, image_size=8, train=20_000),
    Setting(width=64, image_size=8, train=10_000, batch_size=64),
    Setting(width=32, image_size=8, train=10_000),
    Setting(width=32, image_size=8, train=45_000),
    Setting(width=16, image_size=8, train=45_000),
    Setting(width=32, image_size=16, train=10_000),
    Setting(width=128, image_size=8, train=10_000),
)


def read_record() -> dict[str, list[Block]]:
    """The blocks that have been trained, by setting."""
    return dict(json.loads(RECORD.read_text())) if RECORD.exists() else {}


def measure(data: str) -> None:
    """Train what the record lacks."""
    for setting in SETTINGS:
        for depth, seed in [(depth, seed) for seed in range(setting.seeds) for depth in DEPTHS]:
            record = read_record()
            blocks = record.setdefault(str(setting), [])
            if not any(block["depth"] == depth and block["seed"] == seed for block in blocks):
                blocks.append(trained(setting, depth, seed, data))
                write_atomically(RECORD, "{\n" + ",\n".join(_lines(record)) + "\n}\n")
                print(f"{setting}: depth {depth}, seed {seed}, {blocks[-1]['seconds']:.0f} s", flush=True)


def _lines(record: dict[str, list[Block]]) -> Iterator[str]:
    for name, blocks in record.items():
        yield f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(block) for block in blocks) + "\n]"


def trained(setting: Setting, depth: int, seed: int, data: str) -> Block:
    """Train all learning rates of one depth and seed in this process."""
    content = setting.experiment.to_dict()
    for change in (f"data.source={data}", f"grid.depths=[{depth}]", f"grid.seeds=[{seed}]"):
        apply_change(content, change)
    experiment = ammup.Experiment.from_dict(content)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        runs = ammup.run_sweep(experiment, store=Path(folder) / "runs.db", workers=1, progress=False)
        seconds = time.process_time() - start
    accuracies = [None if diverged else value for value, diverged in zip(runs.val_accuracy, runs.diverged, strict=True)]
    return {
        "depth": depth,
        "seed": seed,
        "seconds": round(seconds, 1),
        "lrs": runs.lr.tolist(),
        "accuracies": accuracies,
    }


def frame_of(blocks: list[Block]) -> pd.DataFrame:
    """The runs of blocks, as a sweep returns them."""
    rows = []
    for block in blocks:
        for lr, accuracy in zip(block["lrs"], block["accuracies"], strict=True):
            rows.append(
                {
                    "depth": block["depth"],
                    "seed": block["seed"],
                    "lr": lr,
                    "val_accuracy": CHANCE if accuracy is None else accuracy,
                    "diverged": accuracy is None,
                }
            )
    return pd.DataFrame(rows)


def scatter_of(runs: pd.DataFrame, kind: str) -> tuple[float, int]:
    """(Standard deviation between seeds of log10 of the optimum without what all depths share, degrees of freedom)."""
    table = {}
    for seed, part in runs.groupby("seed"):
        law = ammup.fit_sweep(part, kind=kind, chance=CHANCE)
        table[seed] = {depth: np.log10(law.lr_star(depth)[0]) for depth in DEPTHS}
    values = pd.DataFrame(table).to_numpy()
    residuals = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    df = (values.shape[0] - 1) * (values.shape[1] - 1)
    return float(np.sqrt((residuals**2).sum() / df)), df


def row_of(blocks: list[Block]) -> dict[str, str]:
    """The row of the table for one setting."""
    seeds = {block["seed"] for block in blocks}
    complete = [s for s in seeds if sum(block["seed"] == s for block in blocks) == len(DEPTHS)]
    blocks = [block for block in blocks if block["seed"] in complete]
    runs = frame_of(blocks)
    costs = [np.mean([block["seconds"] for block in blocks if block["depth"] == depth]) for depth in DEPTHS]
    hours = float(np.interp(PROFILE_DEPTHS, DEPTHS, costs).sum()) / 3600
    x = np.log10(PROFILE_DEPTHS)
    leverage = float(np.sqrt(((x - x.mean()) ** 2).sum()))
    best = runs.groupby(["depth", "lr"]).val_accuracy.mean().groupby("depth").max()
    row = {"seeds": str(len(complete)), "best": f"{best[DEPTHS[0]]:.0%}, {best[DEPTHS[-1]]:.0%}"}
    per_hour = {}
    for kind in ("edge", "smoothed"):
        sd, df = scatter_of(runs, kind)
        low, high = (sd * np.sqrt(df / stats.chi2.ppf(p, df)) for p in (0.975, 0.025))
        row[kind] = f"{sd:.3f} [{low:.2f}, {high:.2f}]"
        per_hour[kind] = sd / leverage * np.sqrt(hours)
    row |= {"hours": f"{hours:.3f}"} | {f"{kind}/h": f"{value:.3f}" for kind, value in per_hour.items()}
    row["hours to 0.08, 0.15"] = (
        f"{(per_hour['edge'] / EDGE_GOAL) ** 2:.2f}, {(per_hour['smoothed'] / SMOOTHED_GOAL) ** 2:.2f}"
    )
    law = ammup.fit_sweep(runs, kind="edge", chance=CHANCE).power_law
    row["slope"] = "-" if law is None else f"{law.slope:.2f} ± {law.slope_se:.2f}"
    return row


def table() -> None:
    """Print the table of the record."""
    rows = {name: row_of(blocks) for name, blocks in read_record().items() if len(blocks) >= 2 * len(DEPTHS)}
    print(pd.DataFrame(rows).T.to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("measure").add_argument("--data", default="cifar10", help="name or folder of CIFAR-10")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments.data)
    else:
        table()


if __name__ == "__main__":
    main()
