"""Format numbers: as JSON for programs, and as text with standard errors and intervals for readers."""

import math
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# A format specification, or a function that writes a number.
Form = str | Callable[[float], str]


def json_number(value: object) -> float | int | None:
    """The number as a JSON value: None (null) if it is not finite, which JSON cannot represent."""
    number = float(str(value))
    if not math.isfinite(number):
        return None
    return int(number) if isinstance(value, Integral) else number


def json_rows(table: "pd.DataFrame") -> list[dict[str, float | int | None]]:
    """The rows of a table of numbers as JSON objects."""
    return [{str(k): json_number(v) for k, v in row.items()} for row in table.to_dict("records")]


def number_text(value: float) -> str:
    """The number with three decimals, or with two significant digits if it is below 0.0005 or at least 100."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 100 or abs(value) < 5e-4:
        return f"{value:.2g}"
    return f"{value:.3f}"


def duration_text(seconds: float) -> str:
    """A duration in minutes, or in hours if it is at least two hours."""
    minutes = seconds / 60
    if minutes >= 120:
        return f"{minutes / 60:.1f} hours"
    return f"{minutes:.0f} minutes" if minutes >= 10 else f"{minutes:.1f} minutes"


def interval_text(ends: Iterable[float], form: Form) -> str:
    """``[low, high]``, or an empty string if an end is NaN."""
    values = tuple(ends)
    if any(math.isnan(end) for end in values):
        return ""
    low, high = (_formatted(end, form) for end in values)
    return f"[{low}, {high}]"


def with_interval(value: float, ends: Iterable[float], form: Form, ends_form: Form | None = None) -> str:
    """``value [low, high]``, or only the value if an end is NaN.

    Args:
        value: the estimate.
        ends: the ends of its interval.
        form: the format of the value, and of the ends if ``ends_form`` is None.
        ends_form: the format of the ends.

    Example:
        >>> with_interval(-1.5, (-1.58, -1.42), ".1f", ".2f")
        '-1.5 [-1.58, -1.42]'
    """
    return f"{_formatted(value, form)} {interval_text(ends, form if ends_form is None else ends_form)}".rstrip()


def with_error(value: float, error: float, form: Form, error_form: Form | None = None) -> str:
    """``value ± error``; arguments as in :func:`with_interval`."""
    return f"{_formatted(value, form)} ± {_formatted(error, form if error_form is None else error_form)}"


def error_from_log10(value: float, se_log10: float) -> float:
    """The standard error of a value, computed from the standard error of its decimal logarithm (delta method)."""
    return value * math.log(10) * se_log10


def _formatted(value: float, form: Form) -> str:
    return format(value, form) if isinstance(form, str) else form(value)
