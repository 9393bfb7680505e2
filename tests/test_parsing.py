"""Untrusted JSON and TOML against the parsers of the standard library, which are laxer."""

import json
import math
import tomllib

import pytest

from ammup.errors import InputError
from ammup.parsing import parse_json, parse_toml


@pytest.mark.parametrize("text", ["{}", "[1, 2.5, null, true]", '{"a": {"b": "µ"}}', '"x"', " 3 "])
def test_json_is_parsed_as_python_parses_it(text: str) -> None:
    for given in (text, text.encode()):
        assert parse_json(given) == parse_json(given, infinite=True) == json.loads(text)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused_unless_they_are_asked_for(word: str) -> None:
    json.loads(f"[{word}]")
    with pytest.raises(ValueError, match=word):
        parse_json(f"[{word}]")
    (found,) = parse_json(f"[{word}]", infinite=True)
    assert str(found) == str(float(word))
    assert not math.isfinite(found)


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "[1,]", b"\xff\xfe", "1 2"])
def test_invalid_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_json_without_end_is_a_value_error(opened: str) -> None:
    with pytest.raises(ValueError, match="nest"):
        parse_json(opened * 100_000)


def test_toml_is_parsed_as_python_parses_it() -> None:
    text = 'name = "t"\n[grid]\ndepths = [2, 3]\nlrs = {low = 1e-3}\n'
    assert parse_toml(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    ("text", "place"), [("name =", "line 1"), ("a = 1\na = 2", "line 2"), ("[a]\nb", "line 2"), ("a = 1 2", "line 1")]
)
def test_invalid_toml_is_an_input_error_that_names_the_place(text: str, place: str) -> None:
    with pytest.raises(InputError, match=rf"TOML.*({place}|end of document)"):
        parse_toml(text)


def test_toml_without_end_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"TOML.*nest"):
        parse_toml("a = " + "[" * 100_000)
