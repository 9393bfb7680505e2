"""How often the gate passes a correct model again, and how often it fails a faulty one.

    python benchmarks/gate_repeats.py --records repeats.jsonl
    python benchmarks/gate_repeats.py --records repeats.jsonl --only 'Vit|mixer' --comparisons 50

For each of sixteen models a baseline is recorded. Then the correct model is checked against it with other weight draws,
as after a harmless change of the code, and a model with each planted fault is checked in the same way. A new baseline
is recorded for every ten checks, because they share its error. All checks use the default number of weight draws.

Each finished check is a line of the file of records, so that the same command continues after an interruption. With
--evaluate it only prints the tables of the records.
"""

import json
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the ammup of this checkout

import click
import pandas as pd
import torch
from gate_parts.subjects import Subject, subjects

import ammup
from ammup.gate.check_result import DepthCheck

DEPTHS = (2, 4, 8)
PER_BASELINE = 10  # checks with one baseline
CORRECT, RECORDED = "correct", "recorded"
CAUGHT = ("moved", "does not hold")
Record = dict[str, Any]


class Gate:
    """Recorded baselines of a correct model, with which other models are compared.

    Args:
        subject: the model.
        folder: where the baselines are stored, so that an interrupted benchmark compares with the same ones.
        margin: half the width of the allowed region.
    """

    def __init__(self, subject: Subject, folder: Path, margin: float) -> None:
        self.subject, self.folder, self.margin = subject, folder, margin

    def record(self, recording: int) -> DepthCheck:
        """Record a baseline; each number draws other weights."""
        return self._check(self.subject.net, recording, seed_root=100 * recording, record=True)

    def compare(self, number: int, fault: str = CORRECT) -> DepthCheck:
        """Compare a model with the baseline of its number; each number draws other weights."""
        recording = number // PER_BASELINE
        if not self._path(recording).exists():
            self.record(recording)
        net = self.subject.net if fault == CORRECT else self.subject.faults[fault]
        return self._check(net, recording, seed_root=100 * recording + 1 + number % PER_BASELINE)

    def _path(self, recording: int) -> Path:
        return self.folder / f"{recording}.json"

    def _check(self, net: Callable[..., Any], recording: int, *, seed_root: int, record: bool = False) -> DepthCheck:
        factory = _Named(net)
        return ammup.check_depth_exponent(
            factory,
            DEPTHS,
            **self.subject.batch,
            margin=self.margin,
            baseline=self._path(recording),
            record=record,
            seed_root=seed_root,
        )


class _Named:
    """A factory with the same name for correct and faulty models, because the name is part of the baseline."""

    __qualname__ = __name__ = "make_net"

    def __init__(self, net: Callable[..., Any]) -> None:
        self.net = net
        self.__wrapped__ = net  # its signature states whether it takes a seed

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.net(*arguments, **options)


def _tasks(chosen: dict[str, Subject], comparisons: int, faulty: int) -> Iterator[tuple[str, str, int]]:
    """(model, variant, number) of each check, in an order in which every model has about the same number of checks."""
    faults = {name: list(product(range(faulty), subject.faults)) for name, subject in chosen.items()}
    for number in range(max([comparisons, *map(len, faults.values())])):
        for name in chosen:
            if number < comparisons:
                yield name, CORRECT, number
            if number < len(faults[name]):
                repetition, fault = faults[name][number]
                yield name, fault, repetition


def _measure(check: Callable[[], DepthCheck]) -> Record:
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a faulty net may have no finite gradient; the outcome is what counts
        try:
            result = check()
        except ammup.InputError as error:
            return {"outcome": "invalid input", "error": str(error), "seconds": time.perf_counter() - started}
    return {
        "outcome": result.outcome,
        "draws": result.draws,
        "slope": result.law.power_law.slope,
        "baseline_needed": result.baseline_needed,
        "seconds": time.perf_counter() - started,
    }


def run(records: Path, chosen: dict[str, Subject], *, comparisons: int, faulty: int, margin: float) -> None:
    """Do the checks that are not in the file of records, and append them."""
    done = {(r["model"], r["variant"], r["number"]) for r in read(records)}
    folder = records.with_suffix(".baselines")
    for model, variant, number in _tasks(chosen, comparisons, faulty):
        if (model, variant, number) in done:
            continue
        own = folder / re.sub(r"\W+", "-", model)
        own.mkdir(parents=True, exist_ok=True)
        gate = Gate(chosen[model], own, margin)
        if not (own / f"{number // PER_BASELINE}.json").exists():
            _append(records, model, RECORDED, number, _measure(lambda g=gate, n=number: g.record(n // PER_BASELINE)))
        _append(records, model, variant, number, _measure(lambda g=gate, n=number, v=variant: g.compare(n, v)))


def _append(records: Path, model: str, variant: str, number: int, values: Record) -> None:
    with records.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"model": model, "variant": variant, "number": number, **values}) + "\n")
    click.echo(f"{model}, {variant}, {number}: {values['outcome']}, {values['seconds']:.0f} s", err=True)


def read(records: Path) -> list[Record]:
    """The finished checks."""
    return [json.loads(line) for line in records.read_text("utf-8").splitlines()] if records.exists() else []


def tables(records: list[Record]) -> Iterator[str]:
    """The tables of correct and of faulty models, and each fault that was not caught, as Markdown."""
    frame = pd.DataFrame(records)
    correct, recorded = frame[frame.variant == CORRECT], frame[frame.variant == RECORDED]
    rows = [_row(name, part, recorded[recorded.model == name]) for name, part in correct.groupby("model", sort=False)]
    rows.append(_row("all models", correct, recorded))
    yield pd.DataFrame(rows).to_markdown(index=False)
    faulty = frame[~frame.variant.isin([CORRECT, RECORDED])]
    if faulty.empty:
        return
    counts = [_fault_row(name, part) for name, part in faulty.groupby("model", sort=False)]
    yield pd.DataFrame([*counts, _fault_row("all models", faulty)]).to_markdown(index=False)
    missed = faulty[~faulty.outcome.isin(CAUGHT)]
    yield "\n".join(f"* {row.model}: {row.variant}: {row.outcome}" for row in missed.itertuples()) or "All were caught."


def _row(name: str, checks: pd.DataFrame, recorded: pd.DataFrame) -> Record:
    counts = {outcome: int((checks.outcome == outcome).sum()) for outcome in ("holds", "inconclusive", *CAUGHT)}
    return {
        "model": name,
        "slope": f"{checks.slope.mean():.2f}",
        "draws of the baseline": f"{recorded.draws.mean():.0f}",
        "draws": f"{checks.draws.mean():.0f}",
        "seconds": f"{checks.seconds.median():.0f}",
        "checks": len(checks),
        **counts,
    }


def _fault_row(name: str, checks: pd.DataFrame) -> Record:
    return {
        "model": name,
        "faulty checks": len(checks),
        "caught": int(checks.outcome.isin(CAUGHT).sum()),
        "inconclusive": int((checks.outcome == "inconclusive").sum()),
        "holds": int((checks.outcome == "holds").sum()),
    }


@click.command(help=__doc__)
@click.option("--records", type=click.Path(path_type=Path), help="File of the finished checks.  [default: temporary]")
@click.option("--only", default="", help="Regular expression of the models.")
@click.option("--comparisons", default=20, show_default=True, help="Checks of each correct model.")
@click.option("--faulty", default=1, show_default=True, help="Checks of each faulty model.")
@click.option("--margin", default=0.3, show_default=True, help="Half the width of the allowed region.")
@click.option("--evaluate", is_flag=True, help="Print the tables of the records, without new checks.")
def main(records: Path | None, only: str, comparisons: int, faulty: int, margin: float, evaluate: bool) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = records or Path(folder) / "repeats.jsonl"
        if not evaluate:
            chosen = {name: subject for name, subject in subjects().items() if re.search(only, name)}
            run(path, chosen, comparisons=comparisons, faulty=faulty, margin=margin)
        for table in tables(read(path)):
            click.echo(f"{table}\n")


if __name__ == "__main__":
    main()
