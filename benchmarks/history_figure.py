"""Plot the results that asv recorded: exponents and the speed of the sweep kernel over commits.

python benchmarks/history_figure.py baselines/figures/history.png [--machine ci]
"""

import argparse
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.results import iter_results

from ammup.report.styles import series_style

ROOT = Path(__file__).parents[1]
PANELS = (
    ("exponents.Families.track_slope", "slope of log η* on log L", "linear"),
    ("sweep_kernel.Rates.track_seconds_per_replica_step", "seconds per replica-step, one CPU thread", "log"),
)


def series(benchmark: str, machine: str, commits: list[str]) -> dict[str, list[tuple[int, float]]]:
    """(Index of the commit, value) by parameter, without skipped and failed benchmarks."""
    conf = Config.load(str(ROOT / "asv.conf.json"))
    parameters = Benchmarks.load(conf)[benchmark]["params"]
    points: dict[str, list[tuple[int, float]]] = {}
    for result in iter_results(str(ROOT / conf.results_dir)):
        if result.params.get("machine") != machine or result.commit_hash not in commits:
            continue
        if benchmark not in result.get_all_result_keys():
            continue
        values = result.get_result_value(benchmark, parameters)
        for place, value in enumerate(values):
            name = parameters[0][place // (len(values) // len(parameters[0]))].strip("'")
            if value is not None and value == value:
                points.setdefault(name, []).append((commits.index(result.commit_hash), value))
    return {name: sorted(values) for name, values in points.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--machine", default="ci")
    arguments = parser.parse_args()
    log = ["git", "rev-list", "--first-parent", "--reverse", "HEAD"]
    commits = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    figure, axes = plt.subplots(2, 1, figsize=(12, 10), layout="constrained")
    for axis, (benchmark, title, scale) in zip(axes, PANELS, strict=True):
        by_name = series(benchmark, arguments.machine, commits)
        # Recorded commits are equally spaced, whatever the number of commits between them.
        places = sorted({place for points in by_name.values() for place, _ in points})
        for at, (name, points) in enumerate(by_name.items()):
            values = [value for _, value in points]
            axis.plot([places.index(place) for place, _ in points], values, **series_style(at).hollow, label=name)
        axis.set_xticks(range(len(places)), [commits[place][:7] for place in places], rotation=45, fontsize=10)
        axis.set(title=title, yscale=scale, xlabel="commit")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=10.5, handlelength=4, loc="center left", bbox_to_anchor=(1, 0.5))
    arguments.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.figure, dpi=110)


if __name__ == "__main__":
    main()
