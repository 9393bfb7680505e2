"""A sweep as it is kept outside of a store: everything that its fits, figures and tables are made from, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.parsing import parse_json

FORMAT = "ammup sweep 1"
RUN_COLUMNS = ("depth", "seed", "lr", "val_accuracy", "val_loss", "diverged")
LEFT_OUT_COLUMNS = ("depth", "seed", "lr", "steps")
MEASUREMENT_COLUMNS = ("depth", "lr", "seed", "step", "S_bar")
# Of an accuracy over 5,000 images or of a loss more digits are rounding of another processor.
DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """An experiment and what is known of it.

    Attributes:
        experiment: as it was last run.
        runs: one row for each cell of its grid that is done; at least ``RUN_COLUMNS``.
        left_out: one row for each cell of its grid that an adaptive search did not train to the end:
            ``LEFT_OUT_COLUMNS``.
        measurements: S̄ along short runs: ``MEASUREMENT_COLUMNS``.
        laws: η* by formula: rule -> depth -> η*.
        data_digest: of the data, or None.
        provenance: what it can be traced by: label -> text.
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
        """Cells of the grid that are not done."""
        return self.experiment.grid.size - len(self.runs) - len(self.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Plain tables, lists and numbers; a column is a list."""
        return {
            "format": FORMAT,
            "experiment": self.experiment.to_dict(),
            "data_digest": self.data_digest,
            "provenance": dict(self.provenance),
            "runs": _columns(self.runs[list(RUN_COLUMNS)]),
            "measurements": _columns(self.measurements[list(MEASUREMENT_COLUMNS)]),
            **({"left_out": _columns(self.left_out[list(LEFT_OUT_COLUMNS)])} if self.searched else {}),
            "laws": {rule: {str(depth): _rounded(lr) for depth, lr in law.items()} for rule, law in self.laws.items()},
        }

    def write(self, path: Path) -> None:
        """Write it as JSON, a line for each column."""
        content = self.to_dict()
        tables = {name: content.pop(name) for name in ("runs", "measurements", "left_out") if name in content}
        parts = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in content.items()]
        for name, columns in tables.items():
            lines = ",\n  ".join(f"{json.dumps(column)}: {json.dumps(values)}" for column, values in columns.items())
            parts.append(f"{json.dumps(name)}: {{\n  {lines}\n }}")
        path.write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "SweepRecord":
        """The record that a file holds.

        Raises:
            InputError: a file that cannot be read or is no record of a sweep.
        """
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(
                f"{path} is no record of a sweep (format {FORMAT!r}); `ammup fit RUNS.db --export X.json` makes one"
            )
        try:
            return cls._of(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path} is a damaged record of a sweep: {type(error).__name__}: {error}") from error

    @classmethod
    def _of(cls, content: Mapping[str, Any]) -> "SweepRecord":
        runs = _table(content["runs"], RUN_COLUMNS)
        if not runs["diverged"].isin([0, 1]).all():
            raise ValueError("runs are diverged, 1, or not, 0")
        runs = runs.astype({"diverged": bool})
        for name in ("val_accuracy", "val_loss"):
            runs[name] = runs[name].astype(float)
        if not ((runs["depth"] >= 1) & (runs["depth"] == runs["depth"].round())).all():
            raise ValueError("a depth is no whole number of at least 1")
        if not runs["val_accuracy"].dropna().between(0, 1).all():
            raise ValueError("an accuracy is not between 0 and 1")
        return cls(
            experiment=Experiment.from_dict(content["experiment"]),
            runs=runs,
            measurements=_measurements(content["measurements"]),
            left_out=_table(content.get("left_out", dict.fromkeys(LEFT_OUT_COLUMNS, ())), LEFT_OUT_COLUMNS),
            laws={
                str(rule): {int(depth): float(lr) for depth, lr in law.items()} for rule, law in content["laws"].items()
            },
            data_digest=content["data_digest"],
            provenance={str(name): str(text) for name, text in content["provenance"].items()},
        )


def _measurements(columns: Mapping[str, Any]) -> pd.DataFrame:
    """JSON has no infinity; the S̄ of a run that has diverged is null there."""
    table = _table(columns, MEASUREMENT_COLUMNS)
    if not (table["S_bar"].dropna() > 0).all():
        raise ValueError("an S̄ is not positive")
    return table.assign(S_bar=table["S_bar"].astype(float).fillna(np.inf))


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): [_plain(value) for value in table[name].tolist()] for name in table.columns}


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int):
        return int(value)
    return None if value is None or not np.isfinite(value) else _rounded(float(value))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _table(columns: Mapping[str, Any], names: tuple[str, ...]) -> pd.DataFrame:
    missing = [name for name in names if name not in columns]
    if missing:
        raise KeyError(f"no column {', '.join(missing)}")
    table = pd.DataFrame({name: columns[name] for name in names})
    kinds = pd.api.types
    wrong = [
        name
        for name in names
        if kinds.is_bool_dtype(table[name]) or not (kinds.is_numeric_dtype(table[name]) or table[name].isna().all())
    ]
    if wrong:
        raise ValueError(f"column {', '.join(wrong)} holds something else than numbers")
    return table
