"""A sweep outside of a store, as JSON: everything that its fits, figures and tables are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.sweep_file import (
    FORMAT,
    LEFT_OUT_COLUMNS,
    MEASUREMENT_COLUMNS,
    RUN_COLUMNS,
    SweepFile,
    columns_of,
    rounded,
    sweep_text,
)
from ammup.parsing import parse_json
from ammup.validation import validated


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """An experiment with its runs and measurements.

    Attributes:
        experiment: as it was last run.
        runs: one row for each cell of its grid that is done; at least ``RUN_COLUMNS``.
        left_out: one row for each cell of its grid that an adaptive search did not train to the end:
            ``LEFT_OUT_COLUMNS``.
        measurements: S̄ along short runs: ``MEASUREMENT_COLUMNS``.
        laws: η* by formula: rule -> depth -> η*.
        data_digest: of the data, or None.
        provenance: where the runs come from: label -> text.
    """

    experiment: Experiment
    runs: pd.DataFrame
    measurements: pd.DataFrame
    laws: Mapping[str, Mapping[int, float]]
    data_digest: str | None
    provenance: Mapping[str, str]
    left_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(LEFT_OUT_COLUMNS)))

    @property
    def searched(self) -> bool:
        """Whether learning rates were left out by an adaptive search."""
        return not self.left_out.empty

    @property
    def missing(self) -> int:
        """Number of cells of the grid that are neither run nor left out."""
        return self.experiment.grid.size - len(self.runs) - len(self.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Plain tables, lists and numbers; a column is a list."""
        return {
            "format": FORMAT,
            "experiment": self.experiment.to_dict(),
            "data_digest": self.data_digest,
            "provenance": dict(self.provenance),
            "runs": columns_of(self.runs, RUN_COLUMNS),
            "measurements": columns_of(self.measurements, MEASUREMENT_COLUMNS),
            **({"left_out": columns_of(self.left_out, LEFT_OUT_COLUMNS)} if self.searched else {}),
            "laws": {rule: {str(depth): rounded(lr) for depth, lr in law.items()} for rule, law in self.laws.items()},
        }

    def write(self, path: Path) -> None:
        """Write the record as JSON, with one line for each column."""
        path.write_text(sweep_text(self.to_dict()), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "SweepRecord":
        """The record that a file holds.

        Raises:
            InputError: a file that cannot be read or is not a record of a sweep.
        """
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(
                f"{path} is not a record of a sweep (format {FORMAT!r}); `ammup fit RUNS.db --export X.json` makes one"
            )
        try:
            return cls._from_file(validated(SweepFile, content))
        except InputError as error:
            raise InputError(
                f"{path} is a damaged record of a sweep: {error}; restore it, or export it again with `ammup fit "
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
