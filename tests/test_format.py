"""Numbers for JSON: what a JSON parser gives back."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from ammup.format import json_number, json_rows


@pytest.mark.parametrize(
    "value", [0, -3, 2**60, 0.1, -1e300, 5e-324, np.float64(0.1), np.int64(7), np.uint8(255), np.float32(0.5)]
)
def test_a_number_comes_back_as_it_is(value: float) -> None:
    found = json_number(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == value
    assert type(found) is (int if isinstance(value, int | np.integer) else float)


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
