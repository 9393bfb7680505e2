"""Changes of an experiment's settings, such as "grid.seeds=3", and the settings in which two experiments differ."""

from collections.abc import Mapping
from typing import Any

from ammup.errors import InputError
from ammup.parsing import parse_toml

Settings = Mapping[str, Any]

# Settings that are lists: one number is a list of one number.
LISTS = ("grid.depths", "grid.lrs", "short_run.steps")
MAX_SUFFIX = 80  # characters of a name


def apply_change(content: dict[str, Any], change: str) -> None:
    """Apply a change to parsed TOML, in place.

    Args:
        content: parsed TOML.
        change: a path and a value of TOML, such as "grid.seeds=3". A list may be given without its brackets, and a text
            without its quotes, which the shell removes.

    Raises:
        InputError: the change has another form, or its path contains a setting that is not a table.
    """
    path, equals, text = change.partition("=")
    *tables, name = path.strip().split(".")
    if not equals or not name:
        raise InputError(f"{change!r}: expected the form TABLE.NAME=VALUE, such as grid.seeds=3")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise InputError(f"{change!r}: {table} is not a table; expected a path such as grid.seeds")
    value = _parse_value(text)
    single = path.strip() in LISTS and isinstance(value, int | float)
    content[name] = [value] if single else value


def _parse_value(text: str) -> Any:
    """The value of TOML; of a list without brackets, such as 3,4,6; or the text itself if it is neither."""
    for toml in (text, f"[{text}]") if "," in text else (text,):
        try:
            return parse_toml(f"value = {toml}")["value"]
        except InputError:
            continue
    return text


def differences(before: Settings, after: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that differ between nested tables: path -> (value before, value after); None if it is not set.

    Example:
        >>> differences({"model": {"arguments": {"width": 8}}}, {"model": {"arguments": {"width": 16}}, "name": "x"})
        {'model.arguments.width': (8, 16), 'name': (None, 'x')}
    """
    one, other = _flatten(before), _flatten(after)
    paths = [*one, *(path for path in other if path not in one)]
    return {path: (one.get(path), other.get(path)) for path in paths if one.get(path) != other.get(path)}


def name_suffix(before: Settings, after: Settings, *, key: str) -> str:
    """The part of a name that states what was changed, such as "+width=32"; empty if nothing was.

    Args:
        before: the settings on which the results depend, before the changes.
        after: the same settings after the changes.
        key: a text to use instead of more than ``MAX_SUFFIX`` characters.
    """
    changed = differences(before, after)
    texts = [f"+{path.removeprefix('model.arguments.')}={value_text(value)}" for path, (_, value) in changed.items()]
    suffix = "".join(texts)
    return suffix if len(suffix) <= MAX_SUFFIX else f"+{key}"


def value_text(value: Any) -> str:
    """A value as part of a name or of a sentence, without spaces and quotes."""
    if isinstance(value, list | tuple):
        return ",".join(value_text(item) for item in value)
    if value is None or isinstance(value, bool):
        return {None: "default", True: "true", False: "false"}[value]
    return "-".join(str(value).split())


def _flatten(settings: Settings, prefix: str = "") -> dict[str, Any]:
    """The values of nested tables by their path, such as "model.arguments.width"."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
