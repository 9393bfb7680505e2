"""Experiment files: one TOML is one experiment, or several variants of it, at full size or in a smaller profile."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ammup.errors import InputError, unknown
from ammup.experiments.experiment import Experiment
from ammup.parsing import parse_toml

Table = dict[str, Any]

SHIPPED = files("ammup.experiments")


def read_experiments(
    source: Path, *, profile: str | None = None, variant: str | None = None, changes: Sequence[str] = ()
) -> tuple[Experiment, ...]:
    """The experiments of a file, or of one that comes with ammup.

    In addition to the tables of an :class:`Experiment` a file may have ``[variants.NAME]`` and ``[profiles.NAME]``.
    Each overrides the base settings, tables recursively: first the variant, then the profile, then the changes. The
    name of an experiment is that of the file, the variant and the profile with hyphens between; a name in the variant
    replaces the first two.

    Args:
        source: path of the TOML file, or the name of a shipped one, see :func:`shipped`.
        profile: such as "small"; None is full size.
        variant: one of the file's variants; None takes all of them.
        changes: "TABLE.NAME=VALUE", applied to every experiment.

    Raises:
        InputError: a file that cannot be read, an unknown name, or content that is not an experiment.
    """
    text = _text(source)
    try:
        content = parse_toml(text)
        variants, profiles = _tables(content, "variants"), _tables(content, "profiles")
        _check("variant", variant, variants)
        _check("profile", profile, profiles)
        chosen: list[str | None] = [variant] if variant or not variants else list(variants)
        return tuple(
            Experiment.from_dict(_override(content, one, variants, profile, profiles), changes=changes)
            for one in chosen
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def read_experiment(
    source: Path, *, profile: str | None = None, variant: str | None = None, changes: Sequence[str] = ()
) -> Experiment:
    """The only experiment of a file, see :func:`read_experiments`.

    Raises:
        InputError: as there, or a file with several variants and none chosen.
    """
    found = read_experiments(source, profile=profile, variant=variant, changes=changes)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise InputError(f"{source} has {len(found)} variants ({names}); choose one with variant=")
    return found[0]


def shipped() -> tuple[str, ...]:
    """Names of the experiments of the paper that come with ammup."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))
    )


def described() -> dict[str, str]:
    """The first line of each shipped experiment, which describes it."""
    return {name: _text(Path(name)).splitlines()[0].removeprefix("# ") for name in shipped()}


def _text(source: Path) -> str:
    """The text of the file, or of the shipped experiment of that name."""
    name = str(source)
    if name in shipped() and not source.exists():
        return (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    try:
        return source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if source.suffix:
            raise InputError(f"{source}: {error}") from error
        raise unknown("experiment", name, shipped(), "or give the path of a .toml file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: {error}") from error


def _tables(content: Table, name: str) -> Mapping[str, Table]:
    """Take the tables of this name out of the content."""
    tables = content.pop(name, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InputError(f"{name} must be tables such as [{name}.small]")
    return tables


def _check(kind: str, name: str | None, known: Mapping[str, Table]) -> None:
    if name is not None and name not in known:
        there = f"the file has {', '.join(known)}" if known else f"the file has no {kind}s"
        raise InputError(f"unknown {kind} {name!r}; {there}")


def _override(
    content: Table,
    variant: str | None,
    variants: Mapping[str, Table],
    profile: str | None,
    profiles: Mapping[str, Table],
) -> Table:
    merged, name = content, str(content.get("name", ""))
    if variant is not None:
        merged = _merged(merged, variants[variant])
        name = str(variants[variant].get("name", f"{name}-{variant}"))
    if profile is not None:
        merged = _merged(merged, profiles[profile])
        name = f"{name}-{profile}"
    return {**merged, "name": name} if "name" in content else merged


def _merged(below: Table, above: Table) -> Table:
    """A new table: the values of ``below``, overridden by those of ``above``."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
