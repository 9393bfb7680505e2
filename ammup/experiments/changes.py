"""Changes of an experiment's settings, such as "grid.seeds=3", and the settings in which two experiments differ."""

from collections.abc import Mapping
from typing import Any

from ammup.errors import InputError
from ammup.parsing import parse_toml

Settings = Mapping[str, Any]

# Settings that are lists. If the value of such a setting is a number, it is converted to a list of one number.
LISTS = ("grid.depths", "grid.lrs", "short_run.steps")
MAX_SUFFIX = 80  # largest number of characters that changes add to a name


def apply_change(content: dict[str, Any], change: str) -> None:
    """Apply a change to parsed TOML, in place.

    Args:
        content: parsed TOML.
        change: a path and a TOML value, such as "grid.seeds=3". A list may be given without brackets, and a string
            without quotes, because the shell removes quotes.

    Raises:
        InputError: the change has another form, or a part of its path is a setting that is not a table.
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
    """Parse the text as a TOML value or as a list without brackets, such as 3,4,6; otherwise it is a string."""
    for toml in (text, f"[{text}]") if "," in text else (text,):
        try:
            return parse_toml(f"value = {toml}")["value"]
        except InputError:
            continue
    return text


def differences(before: Settings, after: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that differ between nested tables: path -> (value before, value after). A missing value is None.

    Example:
        >>> differences({"model": {"arguments": {"width": 8}}}, {"model": {"arguments": {"width": 16}}, "name": "x"})
        {'model.arguments.width': (8, 16), 'name': (None, 'x')}
    """
    one, other = _flatten(before), _flatten(after)
    paths = [*one, *(path for path in other if path not in one)]
    return {path: (one.get(path), other.get(path)) for path in paths if one.get(path) != other.get(path)}


def name_suffix(before: Settings, after: Settings, *, key: str) -> str:
    """The part of a name that states the changes, such as "+width=32"; empty if nothing was changed.

    Args:
        before: the settings on which the results depend, before the changes.
        after: the same settings after the changes.
        key: a short text to use instead, if the changes have more than ``MAX_SUFFIX`` characters.
    """
    changed = differences(before, after)
    texts = [f"+{path.removeprefix('model.arguments.')}={value_text(value)}" for path, (_, value) in changed.items()]
    suffix = "".join(texts)
    return suffix if len(suffix) <= MAX_SUFFIX else f"+{key}"


def value_text(value: Any) -> str:
    """A value as part of a name or of a sentence, without spaces and quotes.

    Example:
        >>> value_text([{"name": "RandomCrop", "arguments": {"size": 32, "padding": 4}}, {"name": "RandomGrayscale"}])
        'RandomCrop(size:32;padding:4),RandomGrayscale'
    """
    if isinstance(value, Mapping):
        given = value.get("arguments", {}) if "name" in value else value
        inner = ";".join(f"{name}:{value_text(item)}" for name, item in given.items())
        return f"{value.get('name', '')}({inner})" if inner else str(value.get("name", "{}"))
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
