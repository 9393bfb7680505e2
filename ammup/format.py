"""How numbers are written: for machines as JSON, for people with their errors and intervals."""

import math
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# A format specification, or a function that writes a number.
Form = str | Callable[[float], str]


def json_number(value: object) -> float | int | None:
    """The number as JSON has it: None where it does not exist or is not finite."""
    number = float(str(value))
    if not math.isfinite(number):
        return None
    return int(number) if isinstance(value, Integral) else number


def json_rows(table: "pd.DataFrame") -> list[dict[str, float | int | None]]:
    """A table of numbers, row by row."""
    return [{str(k): json_number(v) for k, v in row.items()} for row in table.to_dict("records")]


def number_text(value: float) -> str:
    """Three decimals, or two digits where those would be too many or too few."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 100 or abs(value) < 5e-4:
        return f"{value:.2g}"
    return f"{value:.3f}"


def interval_text(ends: Iterable[float], form: Form) -> str:
    """``[low, high]``; nothing where an end is NaN."""
    values = tuple(ends)
    if any(math.isnan(end) for end in values):
        return ""
    low, high = (_written(end, form) for end in values)
    return f"[{low}, {high}]"


def with_interval(value: float, ends: Iterable[float], form: Form, ends_form: Form | None = None) -> str:
    """``value [low, high]``; the value alone where an end is NaN.

    Args:
        value: the estimate.
        ends: of its interval.
        form: of the value, and of the ends unless they have one of their own.
        ends_form: of the ends.

    Example:
        >>> with_interval(-1.5, (-1.58, -1.42), ".1f", ".2f")
        '-1.5 [-1.58, -1.42]'
    """
    return f"{_written(value, form)} {interval_text(ends, form if ends_form is None else ends_form)}".rstrip()


def with_error(value: float, error: float, form: Form, error_form: Form | None = None) -> str:
    """``value ± error``; arguments as of :func:`with_interval`."""
    return f"{_written(value, form)} ± {_written(error, form if error_form is None else error_form)}"


def error_from_log10(value: float, se_log10: float) -> float:
    """The standard error of a value in its own units, from that of its decimal logarithm (delta method)."""
    return value * math.log(10) * se_log10


def _written(value: float, form: Form) -> str:
    return format(value, form) if isinstance(form, str) else form(value)
