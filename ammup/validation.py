"""Validation of parsed JSON and TOML by pydantic, with error messages of one line.

Import this module only in modules that need pydantic, because `import ammup` must not import pydantic.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from ammup.errors import InputError
from ammup.parsing import parse_json

T = TypeVar("T")

# Names of union members, which pydantic inserts into the location of an error.
BRANCHES = ("int", "LogSpace")
MAX_SHOWN = 60  # the largest number of characters of an invalid value in a message


def _checked_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value if isinstance(value, int) else float(value)


# An int is not converted to float, so that a file that is read and written again does not change.
Number = Annotated[
    float,
    PlainValidator(_checked_number),
    PlainSerializer(lambda number: number, return_type=Any),
    WithJsonSchema({"type": "number"}),
]
# The ends (low, high) of a region or an interval: a list in JSON, in which null means that there is no bound.
Ends = Annotated[tuple[Number | None, Number | None], Strict(False)]


class StoredModel(BaseModel):
    """A frozen model of a file's content.

    Values must have exactly the declared type. Unknown fields, which other versions of ammup may write, are preserved.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", ser_json_inf_nan="constants")

    def to_dict(self) -> dict[str, Any]:
        """The fields that were set, as plain dicts, lists, numbers and text, in the order of their definition."""
        return self.model_dump(mode="json", exclude_unset=True)


class VersionedModel(StoredModel):
    """The content of a file that states its schema version."""

    READS: ClassVar[int] = 1

    schema_version: int


V = TypeVar("V", bound=VersionedModel)


def parse_versioned(kind: type[V], text: str | bytes, *, name: str, what: str, remedy: str) -> V:
    """Parse and validate a file that states its schema version.

    Args:
        kind: the model of the content.
        text: JSON.
        name: the name of the file.
        what: the kind of file with its article, such as "a baseline file".
        remedy: what to do with an invalid file.

    Raises:
        InputError: the JSON is invalid, the schema version is not supported, or a value is invalid. The message has one
            line.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(f"{name} is not {what} ({type(error).__name__}: {error}); {remedy}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version != kind.READS:
        raise InputError(f"{name} is {what} of schema version {version}; this ammup reads {kind.READS}: {remedy}")
    try:
        return validated(kind, content)
    except InputError as error:
        raise InputError(f"{name} is not {what}: {error}; {remedy}") from error


def validated(kind: type[T], content: object, *, most: int = 3) -> T:
    """Return the content as an instance of a pydantic model or dataclass.

    Args:
        kind: the class.
        content: parsed JSON.
        most: the largest number of problems to list.

    Raises:
        InputError: in one line, the location of each invalid value, what is allowed there, and what was given.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        found = list(problems(error))
        more = f"; and {len(found) - most} more" if len(found) > most else ""
        raise InputError("; ".join(found[:most]) + more) from error


def problems(error: ValidationError) -> Iterator[str]:
    """One message for each invalid value, which begins with its location."""
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"] if "[" not in str(part) and part not in BRANCHES)
        message = problem["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
        if problem["type"] == "unexpected_keyword_argument":
            message = "unknown setting"
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] in ("model_type", "dict_type"):
            message = f"must be an object with named values ({_shortened(repr(problem['input']))} was given)"
        elif "input" in problem and not isinstance(problem["input"], dict):
            message = f"{message} ({_shortened(repr(problem['input']))} was given)"
        yield f"{place}: {message}" if place else message


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
