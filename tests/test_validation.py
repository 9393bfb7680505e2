"""Validation of parsed files, and the text of what is wrong."""

import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ammup.errors import InputError
from ammup.validation import Ends, Number, StoredModel, VersionedModel, parse_versioned, problems, validated


class Point(StoredModel):
    x: Number
    ends: Ends = (None, None)
    count: int = 0


class File(VersionedModel):
    READS = 3

    points: list[Point]


@pytest.mark.parametrize(
    "content", [{"x": 1}, {"x": 1.0, "ends": [None, 2]}, {"count": 3, "x": -1e-9}, {"x": 0, "y": [1]}]
)
def test_values_keep_their_types_and_unknown_fields_are_kept(content: dict) -> None:
    again = validated(Point, content).to_dict()
    assert again == content
    assert [type(value) for value in again.values()] == [type(again[name]) for name in again]
    assert repr(again["x"]) == repr(content["x"])


def test_a_model_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        validated(Point, {"x": 1}).x = 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "x: is missing"),
        ({"x": "1"}, "x: must be a finite number ('1' was given)"),
        ({"x": True}, "x: must be a finite number (True was given)"),
        ({"x": float("nan")}, "x: must be a finite number (nan was given)"),
        ({"x": 1, "ends": 3}, "ends: Input should be a list (3 was given)"),
        ({"x": 1, "ends": [1, 2, 3]}, "ends: "),
        ({"x": 1, "count": "3"}, "count: Input should be a valid integer ('3' was given)"),
        (3, "must be an object with named values (3 was given)"),
        ({"x": "a\nb"}, r"x: must be a finite number ('a\nb' was given)"),
    ],
)
def test_a_problem_names_place_rule_and_value(content: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validated(Point, content)
    assert str(caught.value).startswith(message)


def test_long_values_and_many_problems_are_shortened() -> None:
    with pytest.raises(InputError) as caught:
        validated(File, {"schema_version": 3, "points": [{"x": "y" * 10_000}] * 50})
    assert len(str(caught.value)) < 500
    assert str(caught.value).endswith("; and 47 more")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["a.json is not a test file (JSONDecodeError"]),
        ("[]", ["a.json is not a test file: ", "object"]),
        ('{"schema_version": 2}', ["a.json is a test file of schema version 2; this ammup reads 3"]),
        ('{"schema_version": 3}', ["a.json is not a test file: points: is missing"]),
    ],
)
def test_an_unusable_file_is_named_with_a_remedy(text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_versioned(File, text, name="a.json", what="a test file", remedy="write it again")
    for word in (*words, "write it again"):
        assert word in str(caught.value)


def test_a_file_is_parsed() -> None:
    text = '{"schema_version": 3, "points": [{"x": 1.5}]}'
    assert parse_versioned(File, text, name="a.json", what="a test file", remedy="").points == [Point(x=1.5)]


def test_the_branch_of_a_union_is_no_part_of_the_place() -> None:
    adapter = TypeAdapter(dict[str, int | tuple[int, ...]], config=ConfigDict(strict=True))
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python({"seeds": "x"})
    assert all(line.startswith("seeds: ") for line in problems(caught.value))
