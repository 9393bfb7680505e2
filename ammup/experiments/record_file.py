"""Read the JSON of a sweep record, without pandas: an invalid file is reported before it is imported."""

from pathlib import Path
from typing import Any

from ammup.errors import InputError
from ammup.parsing import parse_json

FORMAT = "ammup sweep 1"


def read_content(path: Path) -> dict[str, Any]:
    """The content of a record, whose values are not checked yet.

    Raises:
        InputError: the file cannot be read, or is not a record of a sweep.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(
            f"{path} is not a record of a sweep (format {FORMAT!r}); `ammup fit RUNS.db --export X.json` writes one"
        )
    return content
