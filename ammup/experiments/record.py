"""A sweep as a JSON file outside a store, with all data that its fits, figures and tables need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.record_file import FORMAT, read_content
from ammup.experiments.sweep_file import (
    LEFT_OUT_COLUMNS,
    MEASUREMENT_COLUMNS,
    RUN_COLUMNS,
    SweepFile,
    format_sweep,
    round_digits,
    to_columns,
)
from ammup.format import brief_repr, count_text
from ammup.validation import validated


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """An experiment with its runs and measurements.

    Attributes:
        experiment: the experiment as it was last run.
        runs: one row for each finished cell of its grid, with at least the columns ``RUN_COLUMNS``.
        measurements: S̄ along short runs, with the columns ``MEASUREMENT_COLUMNS``.
        laws: η* by formula: rule -> depth -> η*.
        data_digest: digest of the training data, or None.
        provenance: label -> text, such as "command" -> the command that trained the runs.
        left_out: one row for each cell of its grid that an adaptive search did not train to the end, with the columns
            ``LEFT_OUT_COLUMNS``.
    """

    experiment: Experiment
    runs: pd.DataFrame
    measurements: pd.DataFrame
    laws: Mapping[str, Mapping[int, float]]
    data_digest: str | None
    provenance: Mapping[str, str]
    left_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(LEFT_OUT_COLUMNS)))

    def __repr__(self) -> str:
        counts = [count_text(len(self.runs), "run"), f"{self.missing} missing", f"{len(self.left_out)} left out"]
        return brief_repr(self, *counts, experiment=self.experiment)

    @property
    def searched(self) -> bool:
        """Whether an adaptive search left out some cells."""
        return not self.left_out.empty

    @property
    def missing(self) -> int:
        """Number of cells of the grid that have no run and were not left out."""
        return self.experiment.grid.size - len(self.runs) - len(self.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Convert the record to dicts, lists and numbers for JSON; each column of a table becomes a list."""
        laws = {rule: {str(depth): round_digits(lr) for depth, lr in law.items()} for rule, law in self.laws.items()}
        return {
            "format": FORMAT,
            "experiment": self.experiment.to_dict(),
            "data_digest": self.data_digest,
            "provenance": dict(self.provenance),
            "runs": to_columns(self.runs, RUN_COLUMNS),
            "measurements": to_columns(self.measurements, MEASUREMENT_COLUMNS),
            **({"left_out": to_columns(self.left_out, LEFT_OUT_COLUMNS)} if self.searched else {}),
            "laws": laws,
        }

    def write(self, path: Path) -> None:
        """Write the record to a JSON file, with one line for each column."""
        path.write_text(format_sweep(self.to_dict()), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "SweepRecord":
        """Read a record from a JSON file.

        Raises:
            InputError: the file cannot be read, is not a record of a sweep, or is damaged.
        """
        content = read_content(path)
        try:
            return cls._from_file(validated(SweepFile, content))
        except InputError as error:
            raise InputError(
                f"{path} is a damaged record of a sweep: {error}; restore a backup, or export it again with `ammup fit "
                "RUNS.db --export X.json`"
            ) from error

    @classmethod
    def _from_file(cls, file: SweepFile) -> "SweepRecord":
        try:
            experiment = Experiment.from_dict(file.experiment)
        except InputError as error:
            raise InputError(f"experiment: {error}") from error
        return cls(
            experiment=experiment,
            runs=file.runs.table(),
            measurements=file.measurements.table(),
            laws={rule: {int(depth): lr for depth, lr in law.items()} for rule, law in file.laws.items()},
            data_digest=file.data_digest,
            provenance=file.provenance,
            **({} if file.left_out is None else {"left_out": file.left_out.table()}),
        )
