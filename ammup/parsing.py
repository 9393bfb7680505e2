"""Readers of texts that come from anywhere: JSON and TOML."""

import json
import tomllib
from typing import Any

from ammup.errors import InputError


def parse_json(text: str | bytes, *, infinite: bool = False) -> Any:
    """What JSON says. Python's reader ends on deep nesting in its own way, and takes NaN and Infinity, which are none.

    Args:
        text: of JSON.
        infinite: take them all the same: Python's writer writes them.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text, parse_constant=float if infinite else _refused)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML.

    Raises:
        InputError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}") from error
    except RecursionError as error:
        raise InputError("not TOML: it is nested too deeply") from error


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
