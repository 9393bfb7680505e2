"""Parsers of untrusted text: JSON and TOML."""

import json
import tomllib
from typing import Any

from ammup.errors import InputError


def parse_json(text: str | bytes, *, infinite: bool = False) -> Any:
    """Parse JSON strictly: Python's own parser raises RecursionError on deep nesting and accepts NaN and Infinity.

    Args:
        text: JSON.
        infinite: accept NaN and Infinity, which Python's own writer produces.

    Raises:
        ValueError: invalid JSON.
    """
    try:
        return json.loads(text, parse_constant=float if infinite else _reject)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        InputError: invalid TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"invalid TOML: {error}") from error
    except RecursionError as error:
        raise InputError("invalid TOML: nested too deeply") from error


def _reject(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
