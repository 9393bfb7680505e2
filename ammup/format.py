"""How numbers are written: for machines, as JSON."""

import math
from numbers import Integral
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def json_number(value: object) -> float | int | None:
    """The number as JSON has it: None where it does not exist or is not finite."""
    number = float(str(value))
    if not math.isfinite(number):
        return None
    return int(number) if isinstance(value, Integral) else number


def json_rows(table: "pd.DataFrame") -> list[dict[str, float | int | None]]:
    """A table of numbers, row by row."""
    return [{str(k): json_number(v) for k, v in row.items()} for row in table.to_dict("records")]
