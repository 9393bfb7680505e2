"""Train the paper's experiments at the profile "coarse", one after another, and keep the runs between sessions.

The store of each experiment is kept as baselines/sweeps/coarse/NAME.db.xz, and packed again after each seed; the same
command continues after a kill, on any machine. Experiments with fewer seeds come first. Each is also exported to
baselines/sweeps/NAME.json, which `ammup fit` and `python benchmarks/paper_slopes.py` read.

    python benchmarks/paper_sweeps.py --cifar10 "~/.cache/ammup/cifar10" --cifar100 "~/.cache/ammup/cifar100" \
        --imagenette "~/.cache/ammup/imagenette64" --minutes 120
"""

import argparse
import lzma
import tempfile
import time
from pathlib import Path

import ammup
from ammup.atomic import replacing
from ammup.experiments.analysis import read_sweep
from ammup.experiments.store import Store

SWEEPS = Path(__file__).parents[1] / "baselines" / "sweeps"
PACKED = SWEEPS / "coarse"
PROFILE = "coarse"
SEEDS = (2, 4, 8)

# (Experiment, variant), the paper's figures first.
EXPERIMENTS: tuple[tuple[str, str | None], ...] = (
    ("cnn-relu-cifar10", None),
    ("resnet-regularizers-cifar10", "none"),
    ("cnn-gelu-cifar10", None),
    ("cnn-padding-cifar10", "zero"),
    ("resnet-last-cifar10", None),
    ("resnet-regularizers-cifar10", "batchnorm"),
    ("cnn-relu-cifar100", None),
    ("resnet-regularizers-cifar10", "dropout"),
    ("resnet-regularizers-cifar10", "both"),
    ("resnet-regularizers-cifar100", "none"),
    ("resnet-regularizers-cifar100", "batchnorm"),
    ("resnet-regularizers-cifar100", "dropout"),
    ("resnet-regularizers-cifar100", "both"),
    ("cnn-imagenet", None),
    ("resnet-imagenet", "none"),
    ("resnet-imagenet", "dropout"),
    ("cnn-widths-cifar10", "c32"),
    ("cnn-widths-cifar10", "c128"),
    ("cnn-kernels-cifar10", "k1"),
    ("cnn-kernels-cifar10", "k5"),
    ("cnn-batch-size-cifar10", "b32"),
    ("cnn-batch-size-cifar10", "b256"),
    ("cnn-resolution-cifar10", "n16"),
)


def experiment_of(name: str, variant: str | None, *, data: str, seeds: list[int]) -> ammup.Experiment:
    """The experiment at the profile, with these seeds."""
    changes = [f"data.source={data}", f"grid.seeds={seeds}"]
    (experiment,) = ammup.read_experiments(name, variant=variant, profile=PROFILE, changes=changes)
    return experiment


def stored_name(name: str, variant: str | None) -> str:
    """The name of the experiment without changes, which names its files."""
    (experiment,) = ammup.read_experiments(name, variant=variant, profile=PROFILE)
    return experiment.name


def extend(name: str, variant: str | None, *, data: str, seeds: int, until: float) -> None:
    """Train the missing runs of the first ``seeds`` seeds, until a time."""
    label = stored_name(name, variant)
    packed = PACKED / f"{label}.db.xz"
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs.db"
        if packed.exists():
            store.write_bytes(lzma.decompress(packed.read_bytes()))
        for seed in range(seeds):
            if time.time() > until:
                return
            start = time.process_time()
            experiment = experiment_of(name, variant, data=data, seeds=list(range(seed + 1)))
            if is_complete(store, experiment):
                continue
            ammup.run_sweep(experiment, store=store, workers=1, progress=False)
            pack(store, packed)
            read_sweep(store).write(SWEEPS / f"{label}.json")
            print(f"{label}: seed {seed}, {time.process_time() - start:.0f} CPU seconds", flush=True)


def is_complete(store: Path, experiment: ammup.Experiment) -> bool:
    """Whether the store contains all cells of the experiment."""
    if not store.exists():
        return False
    with Store(store, mode="read") as opened:
        return not experiment.missing(opened.keys(experiment.key))


def pack(store: Path, packed: Path) -> None:
    """Compress the store; a kill leaves the former file."""
    packed.parent.mkdir(exist_ok=True)
    with replacing(packed) as part:
        part.write_bytes(lzma.compress(store.read_bytes(), preset=6))


def source(name: str, arguments: argparse.Namespace) -> str | None:
    """The data of an experiment, if its folder was given."""
    by_ending = {"cifar100": arguments.cifar100, "imagenet": arguments.imagenette, "cifar10": arguments.cifar10}
    return str(by_ending[name.rsplit("-", maxsplit=1)[1]]) or None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", default="cifar10", help="name or folder")
    parser.add_argument("--cifar100", default="cifar100", help="name or folder")
    parser.add_argument("--imagenette", default="", help="folder of ImageNet or Imagenette; left out without it")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no seed after this time")
    arguments = parser.parse_args()
    until = time.time() + 60 * arguments.minutes
    for seeds in SEEDS:
        for name, variant in EXPERIMENTS:
            if data := source(name, arguments):
                extend(name, variant, data=data, seeds=seeds, until=until)


if __name__ == "__main__":
    main()
