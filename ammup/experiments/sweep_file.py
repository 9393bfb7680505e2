"""The JSON format of a sweep record: its tables are stored by column and validated when they are read."""

import json
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, Strict, model_validator

from ammup.validation import StoredModel

RUN_COLUMNS = ("depth", "seed", "lr", "val_accuracy", "val_loss", "diverged")
LEFT_OUT_COLUMNS = ("depth", "seed", "lr", "steps")
MEASUREMENT_COLUMNS = ("depth", "lr", "seed", "step", "S_bar")
# Number of stored digits. Further digits of an accuracy over 5,000 images, or of a loss, differ between processors by
# rounding errors.
DIGITS = 6
# The largest integer of a DataFrame column.
MAX_INTEGER = 2**63 - 1

Finite = Annotated[float, Field(allow_inf_nan=False)]
Depth = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
Integer = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Integers = Annotated[tuple[Integer, ...], Strict(False)]
Depths = Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_INTEGER)], ...], Strict(False)]
Numbers = Annotated[tuple[Finite, ...], Strict(False)]


class Columns(StoredModel):
    """A table with one list for each column. All lists have the same length."""

    DTYPES: ClassVar[dict[str, type[np.generic]]] = {
        **dict.fromkeys(("depth", "seed", "step", "steps"), np.int64),
        **dict.fromkeys(("lr", "val_accuracy", "val_loss", "S_bar"), np.float64),
        "diverged": np.bool_,
    }

    @model_validator(mode="after")
    def _check_lengths(self) -> "Columns":
        lengths = {name: len(getattr(self, name)) for name in type(self).model_fields}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must have the same length; their lengths are {lengths}")
        return self

    def table(self) -> pd.DataFrame:
        """Convert the columns to a DataFrame; null becomes NaN."""
        return pd.DataFrame(
            {name: np.array(getattr(self, name), dtype=self.DTYPES[name]) for name in type(self).model_fields}
        )


class RunColumns(Columns):
    """Runs; accuracy and loss are null if the run diverged."""

    depth: Depths
    seed: Integers
    lr: Numbers
    val_accuracy: Annotated[tuple[Annotated[float, Field(ge=0, le=1)] | None, ...], Strict(False)]
    val_loss: Annotated[tuple[Finite | None, ...], Strict(False)]
    diverged: Annotated[tuple[Annotated[int, Field(ge=0, le=1)], ...], Strict(False)]


class LeftOutColumns(Columns):
    """Cells that an adaptive search did not train to the end."""

    depth: Depths
    seed: Integers
    lr: Numbers
    steps: Integers


class MeasurementColumns(Columns):
    """S̄ along short runs; null if the run diverged, because JSON has no infinity."""

    depth: Depths
    lr: Numbers
    seed: Integers
    step: Integers
    S_bar: Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, ...], Strict(False)]

    def table(self) -> pd.DataFrame:
        """Convert the columns to a DataFrame; null becomes infinity."""
        table = super().table()
        return table.assign(S_bar=table["S_bar"].fillna(np.inf))


class SweepFile(StoredModel):
    """The content of a sweep record."""

    format: Literal["ammup sweep 1"]
    experiment: dict[str, Any]
    data_digest: str | None
    provenance: dict[str, str]
    laws: dict[str, dict[Depth, Finite]]
    runs: RunColumns
    measurements: MeasurementColumns
    left_out: LeftOutColumns | None = None


def to_columns(table: pd.DataFrame, names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Convert columns of a DataFrame to lists of JSON numbers; NaN and infinity become null."""
    return {name: [_json_value(value) for value in table[name].tolist()] for name in names}


def round_digits(value: float) -> float:
    """Round a number to the digits that are stored in a file."""
    return float(f"{value:.{DIGITS}g}")


def format_sweep(content: dict[str, Any]) -> str:
    """Format the content of a record as JSON, with one line for each value and each column."""
    tables = {name: content.pop(name) for name in ("runs", "measurements", "left_out") if name in content}
    parts = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in content.items()]
    for name, columns in tables.items():
        lines = ",\n  ".join(f"{json.dumps(column)}: {json.dumps(values)}" for column, values in columns.items())
        parts.append(f"{json.dumps(name)}: {{\n  {lines}\n }}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _json_value(value: Any) -> Any:
    if isinstance(value, bool | int):
        return int(value)
    return None if value is None or not np.isfinite(value) else round_digits(float(value))
