"""The stored runs of users' recipes: baselines/tuning/NAME.jsonl.gz, one line for each run."""

import gzip
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ammup.atomic import replacing

FOLDER = Path(__file__).parents[3] / "baselines" / "tuning"
GRID, RANGE_TEST = "grid", "range test"
NO_RATE = 0.0


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run.

    Attributes:
        kind: "grid"; "range test"; or the name of an optimizer without a learning rate.
        depth: L.
        lr: learning rate; of a range test the largest one; ``NO_RATE`` of the other optimizers.
        seed: seed of weights and minibatches.
        steps: steps of a complete run, or of the range test.
        losses: mean training loss in each of ``PARTS`` parts, shorter if the run diverged; of a range test each one.
        scores: validation accuracy at each of ``RUNGS`` rungs, shorter if the run diverged.
        test: accuracy on the test images at the end; None if the run diverged, and for a range test.
        seconds: CPU seconds.
    """

    kind: str
    depth: int
    lr: float
    seed: int
    steps: int
    losses: tuple[float, ...]
    scores: tuple[float, ...]
    test: float | None
    seconds: float

    @property
    def key(self) -> tuple[str, int, float, int]:
        """What distinguishes the runs of a family."""
        return self.kind, self.depth, self.lr, self.seed


def path_of(family: str) -> Path:
    """The file of a family."""
    return FOLDER / f"{family}.jsonl.gz"


def read(family: str) -> tuple[Record, ...]:
    """All stored runs of a family; none if there is no file."""
    path = path_of(family)
    if not path.exists():
        return ()
    rows = map(json.loads, gzip.decompress(path.read_bytes()).decode().splitlines())
    return tuple(Record(**row | {name: tuple(row[name]) for name in ("losses", "scores")}) for row in rows)


def write(family: str, records: tuple[Record, ...]) -> None:
    """Replace the file of a family; equal runs give equal bytes."""
    rows = sorted(records, key=lambda record: record.key)
    text = "".join(f"{json.dumps(asdict(row))}\n" for row in rows)
    path = path_of(family)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        new.write_bytes(gzip.compress(text.encode(), mtime=0))
