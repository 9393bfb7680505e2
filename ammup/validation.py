"""Parsed JSON and TOML as validated pydantic models and dataclasses, and the text of what is wrong with them.

Only modules that use pydantic import this one: `import ammup` must not.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, Strict, TypeAdapter, ValidationError

from ammup.errors import InputError

T = TypeVar("T")

# Branches of unions, which pydantic adds to the place of an error.
BRANCHES = ("int", "LogSpace")
SHOWN = 60


def _checked_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value if isinstance(value, int) else float(value)


# An int stays an int: a file keeps its bytes when it is read and written again.
Number = Annotated[float, PlainValidator(_checked_number)]
# JSON has no tuples; a region or an interval that is open at one end has null there.
Ends = Annotated[tuple[Number | None, Number | None], Strict(False)]


class StoredModel(BaseModel):
    """A frozen model of a file's content.

    A value has exactly the stated type. Fields that this version does not know are kept and written again.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and text: the fields that were set, in the order of their definition."""
        return self.model_dump(mode="json", exclude_unset=True)


def validated(kind: type[T], content: object, *, most: int = 3) -> T:
    """The content as an instance of a pydantic model or dataclass.

    Args:
        kind: the class.
        content: parsed JSON.
        most: problems to list.

    Raises:
        InputError: one line: the place of each invalid value, what is allowed there, and what was given.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        found = list(problems(error))
        more = f"; and {len(found) - most} more" if len(found) > most else ""
        raise InputError("; ".join(found[:most]) + more) from error


def problems(error: ValidationError) -> Iterator[str]:
    """One line for each invalid value, which begins with its place."""
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"] if "[" not in str(part) and part not in BRANCHES)
        message = problem["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
        if problem["type"] == "unexpected_keyword_argument":
            message = "unknown setting"
        elif problem["type"] == "missing":
            message = "is missing"
        elif "input" in problem and not isinstance(problem["input"], dict):
            message = f"{message} ({_shortened(repr(problem['input']))} was given)"
        yield f"{place}: {message}" if place else message


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
