"""`to_frame()` of every result: the numbers of the result, in columns that CSV and parquet store and restore."""

import inspect
import re
import typing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_results import CURVE, OBJECTS

import ammup

# Results that are not tables.
PLAIN = (int, float, str, tuple, list, np.ndarray, pd.DataFrame, ammup.Data)
WITH_FRAMES = (
    *("UpdateMoments", "FiniteStep", "Sharpness", "DepthLaw", "LateCurve", "EdgeCurve", "PowerLaw", "SweepLaw"),
    *("Regret", "Tuned", "DepthCheck"),
)
BY_DEPTH = ("DepthLaw", "LateCurve", "EdgeCurve", "SweepLaw")


def _functions() -> dict[str, Callable[..., object]]:
    named = {name: getattr(ammup, name) for name in ammup.__all__}
    return {name: function for name, function in named.items() if inspect.isfunction(function)}


@pytest.mark.parametrize("name", _functions())
def test_what_a_public_function_returns_is_plain_or_a_model_or_has_to_frame(name: str) -> None:
    kind = inspect.signature(_functions()[name]).return_annotation
    kind = typing.get_origin(kind) or kind
    assert issubclass(kind, PLAIN) or hasattr(kind, "to_frame") or hasattr(kind, "forward")


def test_all_results_are_examined() -> None:
    returned = {inspect.signature(function).return_annotation for function in _functions().values()}
    assert {kind.__name__ for kind in returned if hasattr(kind, "to_frame")} == set(WITH_FRAMES)


def _result(name: str) -> typing.Any:
    return OBJECTS[name][0]()


@pytest.mark.parametrize("name", WITH_FRAMES)
def test_a_frame_is_the_same_after_parquet_and_csv(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = _result(name).to_frame()
    assert len(frame) > 0
    assert isinstance(frame.index, pd.RangeIndex)
    assert all(re.fullmatch(r"[A-Za-z_0-9]+", column) for column in frame.columns)
    frame.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), frame)
    frame.to_csv(tmp_path / "a.csv", index=False)
    read = pd.read_csv(tmp_path / "a.csv")
    for name, column in frame.items():
        if isinstance(column.iloc[0], str):
            assert ["" if pd.isna(value) else value for value in read[name]] == column.tolist()
        else:
            np.testing.assert_allclose(read[name], column, rtol=1e-14)


@pytest.mark.parametrize("name", BY_DEPTH)
def test_laws_have_one_row_for_each_depth_with_lr_star(name: str) -> None:
    frame = _result(name).to_frame()
    assert frame["depth"].tolist() == list(CURVE)
    tolerance = 0.25 if name == "EdgeCurve" else 0.05
    if name != "EdgeCurve":  # its example puts the edge between two learning rates
        np.testing.assert_allclose(np.log10(frame["lr_star"]), np.log10(list(CURVE.values())), atol=tolerance)
    assert set(frame.columns) >= {"depth", "lr_star", "se_log10"}


def test_a_depth_law_has_its_fitted_line() -> None:
    law = _result("DepthLaw")
    frame = law.to_frame()
    np.testing.assert_allclose(frame["fitted"], law.power_law.predict(frame["depth"]))
    low, high = law.power_law.band(frame["depth"])
    np.testing.assert_allclose(frame[["low", "high"]].to_numpy().T, [low, high])


def test_a_sweep_law_has_flags_as_text_and_its_line() -> None:
    law = _result("SweepLaw")
    frame = law.to_frame()
    assert frame["used"].tolist() == [depth in law.used for depth in law.optima]
    assert frame["flags"].tolist() == [", ".join(optimum.flags) for optimum in law.optima.values()]
    assert frame["smoothed"].tolist() == [optimum.smoothed for optimum in law.optima.values()]
    pd.testing.assert_frame_equal(frame[["depth", "fitted", "low", "high"]], law.line)


def test_moments_have_a_row_for_each_unit() -> None:
    moments = _result("UpdateMoments")
    frame = moments.to_frame()
    assert frame["unit"].tolist() == list(moments.units)
    assert frame["S"].mean() == pytest.approx(moments.S_bar)


def test_results_of_one_number_have_one_row() -> None:
    sharpness = _result("Sharpness")
    assert sharpness.to_frame()[["eigenvalue", "edge"]].values.tolist() == [[float(sharpness), sharpness.edge]]
    line = _result("PowerLaw")
    assert line.to_frame()[["slope", "low", "high", "r2"]].values.tolist() == [[line.slope, *line.slope_ci, line.r2]]


def test_checks_can_be_concatenated() -> None:
    check = _result("DepthCheck")
    frame = pd.concat([check.to_frame(), check.to_frame()])
    assert frame["outcome"].tolist() == ["holds", "holds"]
    assert frame[["slope", "slope_low", "allowed_high"]].iloc[0].tolist() == [
        *(check.law.power_law.slope, check.law.power_law.slope_ci[0], check.region.high),
    ]


def test_a_tuned_rate_has_a_row_for_base_and_target() -> None:
    tuned = _result("Tuned")
    frame = tuned.to_frame()
    assert frame["depth"].tolist() == [2, 8]
    assert frame.loc[1, ["lr", "low", "high"]].tolist() == [tuned.lr, *tuned.interval]
    assert frame.loc[1, "edge"] == tuned.edge.lr


def test_runs_become_a_frame() -> None:
    run = _result("Run")
    assert pd.DataFrame([run, run])[["depth", "lr", "diverged"]].values.tolist() == [[3, 0.1, False]] * 2
