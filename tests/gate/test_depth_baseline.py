"""Baselines of checks: the file, and the comparison of a later check with it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from depth_curves import PAPER, check_of, law_of

import ammup
from ammup import InputError
from ammup.gate.check_result import DepthCheck
from ammup.gate.depth_baseline import DepthBaseline, read_baseline, record_baseline
from ammup.gate.depth_check import raise_unless_holds
from ammup.gate.net_facts import NetFacts
from ammup.stats.equivalence import Region

REGION = Region.around(-1.5, 0.1)
STORED = {
    "schema_version": 1,
    "about": "a net",
    "environment": {"python": "3.11.7", "torch": "2.9", "numpy": "2.0", "device": "cpu", "dtype": "float32",
                    "threads": 2, "machine": "x86_64"},
    "seeds": 8,
    "slope": -1.5,
    "curve": [[4, 0.125, 0.01], [8, 1, 0]],
}  # fmt: skip


def _times(factor: float) -> DepthCheck:
    return check_of(law_of({depth: factor * lr for depth, lr in PAPER.items()}), REGION)


@pytest.fixture
def baseline() -> DepthBaseline:
    return DepthBaseline.from_check(_times(1), "a net")


def test_a_written_baseline_is_read_back_unchanged(baseline: DepthBaseline, tmp_path: Path) -> None:
    baseline.write(tmp_path / "depth.json")
    assert DepthBaseline.read(tmp_path / "depth.json") == baseline
    assert [path.name for path in tmp_path.iterdir()] == ["depth.json"]
    assert [depth for depth, *_ in baseline.curve] == list(PAPER)
    assert [lr for _, lr, _ in baseline.curve] == pytest.approx(list(PAPER.values()))
    assert baseline.slope == pytest.approx(-1.5)


@pytest.mark.parametrize("changed", [{}, {"later": [1, 2.5]}, {"slope": -2}])
def test_reading_and_writing_a_file_preserves_its_bytes(changed: dict, tmp_path: Path) -> None:
    text = json.dumps(STORED | changed, indent=1, ensure_ascii=False) + "\n"
    (tmp_path / "depth.json").write_text(text, encoding="utf-8")
    DepthBaseline.read(tmp_path / "depth.json").write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text(encoding="utf-8") == text


def test_the_same_check_agrees_with_its_baseline(baseline: DepthBaseline) -> None:
    check = baseline.against(_times(1), "a net")
    assert (check.outcome, check.moved, check.note) == ("holds", (), "")


def test_the_standard_error_of_the_stored_slope_is_that_of_the_fit(baseline: DepthBaseline) -> None:
    stored = baseline.stored_curve
    assert stored.slope_se == pytest.approx(_times(1).law.power_law.slope_se, rel=1e-12)
    assert (stored.slope, stored.draws, stored.units) == (baseline.slope, 40, {depth: depth for depth in PAPER})


def test_the_draws_are_stored_with_the_curve(baseline: DepthBaseline) -> None:
    measured = _times(1).curve.S_bar
    np.testing.assert_allclose(baseline.stored_curve.S_bar, measured, rtol=1e-6)
    assert list(baseline.draws) == [str(depth) for depth in PAPER]
    assert baseline.model_copy(update={"draws": None}).stored_curve.S_bar is None


def test_a_curve_that_moved_is_reported_apart_from_the_slope(baseline: DepthBaseline) -> None:
    check = baseline.against(_times(2), "a net")
    assert (check.outcome, check.slope_outcome) == ("moved", "holds")
    assert "same factor at every depth" in check.cause
    assert len(check.moved) == 4
    first, second, *_ = check.report().splitlines()
    assert first.startswith("moved against the baseline: typical η* at depth 4 was 0.1253 and is 0.2506, ")
    assert second.startswith("the depth exponent holds: ")
    with pytest.raises(ammup.Moved, match="moved against"):
        raise_unless_holds(check)


def test_a_slope_outside_the_region_does_not_hold_even_if_the_curve_moved(baseline: DepthBaseline) -> None:
    flat = check_of(law_of({depth: 2 * depth**-0.5 for depth in PAPER}), REGION)
    check = baseline.against(flat, "a net")
    assert check.outcome == "does not hold"
    assert check.moved
    assert check.report().startswith("the depth exponent does not hold: ")


@pytest.mark.parametrize(
    ("scatter", "slope", "outcome"),
    [
        (0.02, -1.9, "does not hold"),
        (0.99, -1.9, "inconclusive"),  # the interval is outside the region, whose centre is not known well enough
        (0.99, -3.0, "does not hold"),
        (0.02, -1.5, "holds"),
        (0.99, -1.5, "inconclusive"),
    ],
)
def test_the_error_of_the_centre_counts_before_a_slope_does_not_hold(
    scatter: float, slope: float, outcome: str
) -> None:
    """A baseline of few draws that scatter; the new draws scatter little."""
    stored = DepthBaseline.from_check(check_of(law_of(PAPER, scatter=scatter, draws=8), REGION), "a net")
    law = law_of({depth: depth**slope for depth in PAPER}, scatter=0.02)
    centred = replace(check_of(law, Region.around(stored.slope, 0.3)), expected=stored.slope)
    check = replace(stored.against(centred, "a net"), moved=())
    assert check.outcome == outcome
    difference, (low, high) = check.slope_change
    assert difference == pytest.approx(slope - stored.slope)
    if outcome == "inconclusive":
        assert low < -0.3 < high
        assert f"{difference:.3f} [{low:.3f}, {high:.3f}] with the errors of both" in check.report()
    if outcome == "inconclusive" and slope == -1.9:
        assert check.law.power_law.slope_ci[1] < check.region.low
    expected_by_value = replace(check_of(law, Region.around(-1.5, 0.3)), expected=-1.5)
    assert stored.against(expected_by_value, "a net").slope_outcome == ("holds" if slope == -1.5 else "does not hold")


@pytest.mark.parametrize(
    ("n_units", "numbers"),
    [
        (lambda depth: depth + 1, "was 4, 8, 16, 32 and is 5, 9, 17, 33, at depths 4, 8, 16, 32"),
        (lambda depth: min(depth, 31), "was 32 and is 31, at depth 32"),
    ],
)
def test_another_number_of_units_moved_also_where_the_draws_cannot_show_it(
    n_units: Callable[[int], int], numbers: str, baseline: DepthBaseline
) -> None:
    """Two draws that scatter so much that the interval of the slope is inconclusive."""
    units = {depth: n_units(depth) for depth in PAPER}
    check = baseline.against(check_of(law_of(PAPER, scatter=0.7, draws=2, units=units), REGION), "a net")
    assert (check.outcome, check.slope_outcome) == ("moved", "inconclusive")
    assert check.report().startswith(f"moved against the baseline: the number of depth units {numbers}\n")
    assert "increase the seeds" not in check.report()
    assert check.to_dict()["moved"] == [f"the number of depth units {numbers}"]
    with pytest.raises(ammup.Moved, match="the number of depth units"):
        raise_unless_holds(check)


def test_layers_that_newly_have_equal_weights_moved(baseline: DepthBaseline) -> None:
    copied = replace(_times(1), facts=NetFacts(copied=True))
    (sentence,) = baseline.against(copied, "a net").moved
    assert sentence == "layers of the deeper net have equal weights, and those of the baseline have not"
    for stored in (baseline.model_copy(update={"copied": True}), baseline.model_copy(update={"S": None})):
        assert stored.against(copied, "a net").moved == ()


def test_a_baseline_without_numbers_of_units_does_not_compare_them(baseline: DepthBaseline) -> None:
    """Earlier versions did not store S_l."""
    other = check_of(law_of(PAPER, units={depth: depth + 1 for depth in PAPER}), REGION)
    assert baseline.against(other, "a net").outcome == "moved"
    assert baseline.model_copy(update={"S": None}).against(other, "a net").outcome == "holds"


@pytest.mark.parametrize("changed", ["torch", "numpy", "device", "dtype", "seeds", "first_seed"])
def test_a_change_within_both_standard_errors_is_a_note(changed: str, baseline: DepthBaseline) -> None:
    """Other draws, or the same seeds with an additional random number drawn by the factory."""
    slightly = _times(1.002)
    same_seeds = baseline.against(slightly, "a net")
    assert (same_seeds.outcome, same_seeds.moved) == ("holds", ())
    assert "the same seeds, torch and device gave another curve" in same_seeds.note
    assert "record the baseline again" in same_seeds.report()
    if changed in ("seeds", "first_seed"):
        elsewhere = baseline.model_copy(update={changed: 50})
    else:
        environment = baseline.environment.model_copy(update={changed: "another"})
        elsewhere = baseline.model_copy(update={"environment": environment})
    other_draws = elsewhere.against(slightly, "a net")
    assert other_draws.outcome == "holds"
    assert "agrees with the baseline within both standard errors: typical η* at depth" in other_draws.note
    assert elsewhere.against(_times(2), "a net").outcome == "moved"


def test_more_draws_that_begin_with_the_stored_ones_are_a_repetition() -> None:
    eight = check_of(law_of(PAPER, draws=8), REGION)
    stored = DepthBaseline.from_check(eight, "a net")
    assert stored.against(check_of(law_of(PAPER, draws=40), REGION), "a net").note == ""
    assert stored.against(check_of(law_of(PAPER, draws=6), REGION), "a net").note != ""


def test_a_baseline_of_another_measurement_is_rejected(baseline: DepthBaseline) -> None:
    with pytest.raises(InputError, match=r"'a net'.*'another net'.*another baseline file"):
        baseline.against(_times(1), "another net")
    fewer = check_of(law_of({depth: lr for depth, lr in PAPER.items() if depth > 4}), REGION)
    with pytest.raises(InputError, match=r"depths \[4, 8, 16, 32\].*\[8, 16, 32\]"):
        baseline.against(fewer, "a net")


def test_a_description_with_the_number_of_draws_is_still_accepted(baseline: DepthBaseline) -> None:
    """Earlier versions included the number, so that --seeds could not be changed."""
    earlier = baseline.model_copy(update={"about": "a net, mse, weight draws at each depth: 8, part total"})
    assert earlier.against(_times(1), "a net, mse, part total").outcome == "holds"


def test_a_missing_baseline_in_ci_is_an_error_unless_it_is_to_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "depth.json"
    for value in ("", "false", "0"):
        monkeypatch.setenv("CI", value)
        assert read_baseline(path, record=False) is None
    for value in ("true", "1", "woodpecker"):
        monkeypatch.setenv("CI", value)
        with pytest.raises(InputError, match=r"depth.json does not exist, and.* CI is set.*commit the file.*--record"):
            read_baseline(path, record=False)
        assert read_baseline(path, record=True) is None
    path.write_text(json.dumps(STORED), encoding="utf-8")
    assert read_baseline(path, record=False) == DepthBaseline.read(path)
    assert read_baseline(path, record=True) is None


def test_only_a_check_with_a_standard_error_that_holds_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "depth.json"
    assert not record_baseline(check_of(law_of(PAPER, draws=1), REGION), "a net", path)
    fails = replace(check_of(law_of(PAPER), Region.around(-1.0, 0.1)), expected=-1.0)
    assert not record_baseline(fails, "a net", path)
    assert not path.exists()
    assert record_baseline(_times(1), "a net", path)
    assert DepthBaseline.read(path).slope == pytest.approx(-1.5)


def _without(name: str) -> dict:
    return {k: v for k, v in STORED.items() if k != name}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", []),
        (b"\x00", []),
        (b"\xff", []),
        ([], ["object", "[] was given"]),
        ({}, ["schema_version: is missing"]),
        (STORED | {"schema_version": 2}, ["schema version 2", "reads 1"]),
        *((_without(name), [f"{name}: is missing"]) for name in STORED),
        (STORED | {"curve": []}, ["curve: ", "[] was given"]),
        (STORED | {"curve": [[1]]}, ["curve.0.1: is missing"]),
        (STORED | {"curve": [[4, 0.0, 0.1]]}, ["curve.0.1: ", "positive", "0.0 was given"]),
        (STORED | {"curve": [[4, 1.0, -0.1]]}, ["curve.0.2: ", "at least 0", "-0.1 was given"]),
        (STORED | {"curve": [[4.5, 1.0, 0.1]]}, ["curve.0.0: ", "integer", "4.5 was given"]),
        (STORED | {"curve": [[4, "1", 0.1]]}, ["curve.0.1: ", "number", "'1' was given"]),
        (STORED | {"slope": True}, ["slope: ", "number", "True was given"]),
        (STORED | {"environment": {"torch": "2.9"}}, ["environment.numpy: is missing"]),
        (STORED | {"draws": {"4": "1 2"}}, ["expected 8 numbers at depth 4; 2 were given"]),
        (STORED | {"draws": {"4": "1 x"}}, ["draws.4: ", "could not convert"]),
        (STORED | {"draws": {"4": "1 inf"}}, ["draws.4: ", "finite", "'inf' was given"]),
        (STORED | {"draws": {"4": "0 0"}}, ["draws.4: ", "at least one positive"]),
    ],
)
def test_an_invalid_file_is_reported_in_one_line_with_field_value_and_remedy(
    content: object, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "depth.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(InputError) as caught:
        DepthBaseline.read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    for word in ("a baseline of `ammup check`", *words, "restore it from git"):
        assert word in message
    assert "\n" not in message
