"""Baselines of checks: the file, and the comparison of a later check with it."""

import json
from pathlib import Path

import pytest
from depth_curves import PAPER, check_of, law_of

from ammup import InputError
from ammup.gate.depth_baseline import DepthBaseline
from ammup.gate.depth_check import DepthCheck
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
    assert (check.outcome, check.moved) == ("holds", ())


def test_a_changed_curve_fails_even_if_the_slope_holds(baseline: DepthBaseline) -> None:
    check = baseline.against(_times(2), "a net")
    assert check.outcome == "does not hold"
    assert len(check.moved) == 4
    assert "η* at depth 4 was 0.125 and is 0.25" in check.report()


@pytest.mark.parametrize("changed", ["torch", "numpy", "device", "dtype", "seeds"])
def test_another_environment_or_other_seeds_allow_a_larger_change(changed: str, baseline: DepthBaseline) -> None:
    slightly = _times(1.002)
    assert baseline.against(slightly, "a net").outcome == "does not hold"  # the same seeds give the same η*
    if changed == "seeds":
        elsewhere = baseline.model_copy(update={"seeds": 3})
    else:
        environment = baseline.environment.model_copy(update={changed: "another"})
        elsewhere = baseline.model_copy(update={"environment": environment})
    assert elsewhere.against(slightly, "a net").outcome == "holds"
    assert elsewhere.against(_times(2), "a net").outcome == "does not hold"


def test_a_baseline_of_another_measurement_is_rejected(baseline: DepthBaseline) -> None:
    with pytest.raises(InputError, match=r"'a net'.*'another net'.*another --baseline"):
        baseline.against(_times(1), "another net")
    fewer = check_of(law_of({depth: lr for depth, lr in PAPER.items() if depth > 4}), REGION)
    with pytest.raises(InputError, match=r"depths \[4, 8, 16, 32\].*\[8, 16, 32\]"):
        baseline.against(fewer, "a net")


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
