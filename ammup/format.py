"""Format numbers: as JSON for programs, as text with errors and intervals for readers, and briefly for a repr."""

import math
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# A format specification, or a function that writes a number.
Form = str | Callable[[float], str]

# In a repr, longer containers are described by their number of items, and longer texts are cut.
SHOWN_ITEMS, SHOWN_CHARACTERS = 6, 60
# Objects with a longer repr, or with one of several lines, are described by their type.
LONGEST_REPR = 300


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


def brief_repr(thing: object, *words: str, **values: Any) -> str:
    """A repr of the words, and of names and values as :func:`brief` writes them.

    Example:
        >>> brief_repr(1.5, "2 units", slope=-1.50432, depths=(2, 4))
        'float(2 units, slope=-1.504, depths=(2, 4))'
    """
    parts = [*words, *(f"{name}={brief(value)}" for name, value in values.items())]
    return f"{type(thing).__name__}({', '.join(parts)})"


def brief_fields(thing: Any) -> str:
    """A repr of a dataclass, with its fields as :func:`brief` writes them."""
    return brief_repr(thing, **{field.name: getattr(thing, field.name) for field in fields(thing) if field.repr})


def brief(value: Any) -> str:
    """A short text of a value, such as four digits of a float, the dtype and shape of an array, the size of a table."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}…")
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.4g}"
    if isinstance(value, tuple | list) and len(value) > SHOWN_ITEMS:
        return f"[{brief(value[0])} … {brief(value[-1])}, {len(value)} items]"
    if hasattr(value, "dtype") and getattr(value, "shape", None):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if hasattr(value, "columns") and isinstance(value, Sized):
        return f"<table of {count_text(len(value), 'row')}>"
    if isinstance(value, set | frozenset | Mapping) and len(value) > SHOWN_ITEMS:
        return f"<{count_text(len(value), 'item')}>"
    if isinstance(value, tuple | list):
        items = ", ".join(map(brief, value))
        return f"({items})" if isinstance(value, tuple) else f"[{items}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{brief(key)}: {brief(item)}' for key, item in value.items())}}}"
    text = str(getattr(value, "__qualname__", None) or repr(value))
    return text if len(text) <= LONGEST_REPR and "\n" not in text else f"<{type(value).__name__}>"


def count_text(number: int, singular: str) -> str:
    """The number with its noun, such as "1 row" or "3 rows"."""
    return f"{number} {singular}{'' if number == 1 else 's'}"


def range_text(values: Iterable[float]) -> str:
    """The first and the last of several numbers with their count, such as "2 … 64 (6)"; all of up to three."""
    numbers = list(values)
    if len(numbers) <= 3:
        return ", ".join(f"{v:.4g}" for v in numbers)
    return f"{numbers[0]:.4g} … {numbers[-1]:.4g} ({len(numbers)})"


def _formatted(value: float, form: Form) -> str:
    return format(value, form) if isinstance(form, str) else form(value)
