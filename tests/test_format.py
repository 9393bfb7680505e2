"""How numbers are written."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from ammup.format import (
    brief,
    count_text,
    duration_text,
    error_from_log10,
    interval_text,
    json_number,
    json_rows,
    number_text,
    range_text,
    with_error,
    with_interval,
)

NAN = math.nan


@pytest.mark.parametrize(
    "value", [0, -3, 2**60, 0.1, -1e300, 5e-324, np.float64(0.1), np.int64(7), np.uint8(255), np.float32(0.5)]
)
def test_a_number_comes_back_as_it_is(value: float) -> None:
    found = json_number(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == value
    assert type(found) is (int if isinstance(value, int | np.integer) else float)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 minutes"), (26.6, "0.4 minutes"), (594, "9.9 minutes"), (600, "10 minutes"), (7199, "120 minutes"),
     (7200, "2.0 hours"), (23400, "6.5 hours")],
)  # fmt: skip
def test_durations_are_minutes_or_hours(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_number_that_json_does_not_have_is_none(value: float) -> None:
    assert json_number(value) is None


def test_a_table_becomes_its_rows() -> None:
    table = pd.DataFrame({"depth": [2, 4], "lr": [0.5, np.nan], 3: [np.inf, 1.0]})
    rows = json_rows(table)
    assert rows == [{"depth": 2, "lr": 0.5, "3": None}, {"depth": 4, "lr": None, "3": 1.0}]
    assert all(type(row["depth"]) is int for row in rows)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert json_rows(table[:0]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (-1.5, "-1.500"), (99.9999, "100.000"), (123.4, "1.2e+02"), (4.9e-4, "0.00049"), (5e-4, "0.001")),
        *((math.inf, "inf"), (-math.inf, "-inf"), (NAN, "nan")),
    ],
)
def test_numbers_have_three_decimals_or_two_digits(value: float, text: str) -> None:
    assert number_text(value) == text


def test_intervals_are_written_by_a_specification_or_a_function() -> None:
    assert interval_text((-1.58, -1.42), ".1f") == "[-1.6, -1.4]"
    assert interval_text([np.float64(0.0), 123.4], number_text) == "[0, 1.2e+02]"
    assert interval_text((0.5, math.inf), ".1f") == "[0.5, inf]"


@pytest.mark.parametrize("ends", [(NAN, NAN), (NAN, 1.0), (1.0, NAN)])
def test_an_interval_that_does_not_exist_is_left_out(ends: tuple[float, float]) -> None:
    assert interval_text(ends, ".2f") == ""
    assert with_interval(-1.5, ends, ".2f") == "-1.50"


def test_values_with_intervals_and_errors() -> None:
    assert with_interval(-0.001, (-0.004, 0.25), "z.2f") == "0.00 [0.00, 0.25]"
    assert with_interval(0.123, (12.0, 13.0), ".1%", ".1f") == "12.3% [12.0, 13.0]"
    assert with_interval(-1.5, (-1.58, -1.42), "9.4f") == "  -1.5000 [  -1.5800,   -1.4200]"
    assert with_error(-1.5, 0.02, number_text) == "-1.500 ± 0.020"
    assert with_error(-1.23456789, 0.0234, ".6g", ".2g") == "-1.23457 ± 0.023"


def test_the_error_of_a_logarithm_in_the_value_s_units_is_the_slope_of_the_exponential() -> None:
    step = 1e-6
    slope = (10 ** (-0.7 + step) - 10 ** (-0.7 - step)) / (2 * step)
    assert error_from_log10(10**-0.7, 0.03) == pytest.approx(0.03 * slope)
    assert math.isnan(error_from_log10(0.1, NAN))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (np.float32(2.5), "2.5"),
        (3, "3"),
        (True, "True"),
        (None, "None"),
        ("a" * 100, repr("a" * 60 + "…")),
        (np.zeros((2, 3)), "float64[2, 3]"),
        (pd.DataFrame({"a": [1]}), "<table of 1 row>"),
        ([0.5] * 6, "[0.5, 0.5, 0.5, 0.5, 0.5, 0.5]"),
        (tuple(range(7)), "[0 … 6, 7 items]"),
        ({"a": (1.0, 2)}, "{'a': (1, 2)}"),
        (dict.fromkeys(range(9)), "<9 items>"),
        (math.sqrt, "sqrt"),
        (type("Long", (), {"__repr__": lambda self: "x\ny"})(), "<Long>"),
        (type("Long", (), {"__repr__": lambda self: "x" * 301})(), "<Long>"),
    ],
)
def test_brief_texts(value: object, text: str) -> None:
    assert brief(value) == text


@pytest.mark.parametrize(
    ("values", "text"), [([], ""), ([2], "2"), ([2, 4, 8], "2, 4, 8"), ([2, 4, 8, 0.123456], "2 … 0.1235 (4)")]
)
def test_ranges(values: list[float], text: str) -> None:
    assert range_text(values) == text
    assert [count_text(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
