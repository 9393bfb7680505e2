"""Measure what `measure_updates` costs: CPU time and peak memory, relative to one forward and backward pass.

    python benchmarks/zoo_cost.py torchvision
    python benchmarks/zoo_cost.py torchvision --only 'resnet|vit' --json cost.jsonl --resume
    python benchmarks/zoo_cost.py torchvision --batch 16      # images; the zoo has batches of 4

Times are CPU seconds of one thread, of the first measurement of a model and of one whose depth units are known. They
alternate with those of training, so that other processes on the machine matter little. The method "difference*" is that
of models whose rounding errors are too large for jvp.
Memory is the peak of the resident memory of a new process, for the model, the batch and one run (Linux only).
"""

import argparse
import json
import re
import statistics
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the ammup of this checkout

import torch
from zoo_parts.case import Case, Problem
from zoo_parts.collection import COLLECTIONS, cases_of
from zoo_parts.cost import cpu_times, peak_memory, train
from zoo_parts.judge import call_ammup, warm_up


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", choices=list(COLLECTIONS))
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression that names must contain")
    parser.add_argument("--batch", type=int, metavar="N", help="samples of a batch, for models of images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="JSON lines, one record for each model")
    parser.add_argument("--resume", action="store_true", help="skip the models in FILE")
    options = parser.parse_args()
    if options.resume and options.json is None:
        parser.error("--resume requires --json FILE")
    records: dict[str, dict[str, Any]] = {}
    if options.json and options.json.exists():
        lines = options.json.read_text().splitlines() if options.resume else []
        options.json.write_text("".join(f"{line}\n" for line in lines))
        records = {record["name"]: record for record in map(json.loads, lines)}
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    warm_up()
    for case in cases_of(options.collection):
        if not re.search(options.only, case.name):
            continue
        if case.name not in records:
            records[case.name] = _record(case if options.batch is None else _with_batch(case, options.batch))
            if options.json:
                with options.json.open("a") as file:
                    file.write(json.dumps(records[case.name]) + "\n")
        print(_line(records[case.name]), flush=True)
    print(summary(list(records.values())) if records else "no model matches --only")


def _with_batch(case: Case, size: int) -> Case:
    """The case with another number of samples."""

    def build() -> Problem:
        problem = case.build()
        inputs = torch.randn(size, *problem.inputs.shape[1:])
        return replace(problem, inputs=inputs, targets=problem.targets[torch.arange(size) % len(problem.targets)])

    return replace(case, build=build)


def _record(case: Case) -> dict[str, Any]:
    """Time and memory of one model."""
    memory, training_memory = peak_memory(case, call_ammup), peak_memory(case, train)
    first = call_ammup(case.built())

    def again(problem: Problem) -> None:
        call_ammup(problem, units=first.units)

    seconds, seconds_again, training_seconds = cpu_times(case, call_ammup, again)
    return {
        "name": case.name,
        "method": "difference*" if "relative error of jvp" in first.reason else first.method,
        "seconds": seconds,
        "seconds_again": seconds_again,
        "training_seconds": training_seconds,
        "memory": memory,
        "training_memory": training_memory,
    }


def _first_ratio(record: dict[str, Any]) -> float:
    return float(record["seconds"] / record["training_seconds"])


def _again_ratio(record: dict[str, Any]) -> float:
    return float(record["seconds_again"] / record["training_seconds"])


def _memory_ratio(record: dict[str, Any]) -> float:
    return float(record["memory"] / record["training_memory"])


def _line(record: dict[str, Any]) -> str:
    seconds = f"{record['training_seconds']:7.3f} s x {_first_ratio(record):5.2f}, again x {_again_ratio(record):5.2f}"
    memory = f"{record['training_memory'] / 1e6:6.0f} MB x {_memory_ratio(record):4.2f}"
    return f"{record['name']:<24} {record['method']:<14} {seconds}  {memory}"


def summary(records: list[dict[str, Any]]) -> str:
    """Medians and extremes of the ratios, by method."""
    ratios = {"first time": _first_ratio, "units known": _again_ratio, "memory": _memory_ratio}
    lines = []
    for method in (*sorted({r["method"] for r in records}), "all"):
        chosen = [r for r in records if method in ("all", r["method"])]
        parts = [f"{method:<14} {len(chosen):3} models"]
        for name, ratio in ratios.items():
            values = [ratio(record) for record in chosen]
            parts.append(f"{name}: median {statistics.median(values):.2f}, largest {max(values):.2f}")
        lines.append("   ".join(parts))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
