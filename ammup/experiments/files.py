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

    Beside the tables of an :class:`Experiment` a file may hold ``[variants.NAME]`` and ``[profiles.NAME]``. Each is
    laid over the rest: a table into a table, anything else in place of what was there; first the variant, then the
    profile, then the changes. The name of an experiment is that of the file, of the variant and of the profile with
    hyphens between; a variant that gives a name itself is called that instead of the first two.

    Args:
        source: of the TOML file; or the name of a shipped one, see :func:`shipped`.
        profile: such as "small"; None is full size.
        variant: one of the file's variants; None takes all of them.
        changes: "TABLE.NAME=VALUE", put into every one.

    Raises:
        InputError: a file that cannot be read, a name that it does not hold, or content that is no experiment.
    """
    text = _text(source)
    try:
        content = parse_toml(text)
        variants, profiles = _tables(content, "variants"), _tables(content, "profiles")
        _check("variant", variant, variants)
        _check("profile", profile, profiles)
        chosen: list[str | None] = [variant] if variant or not variants else list(variants)
        return tuple(
            Experiment.from_dict(_laid(content, one, variants, profile, profiles), changes=changes) for one in chosen
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def read_experiment(
    source: Path, *, profile: str | None = None, variant: str | None = None, changes: Sequence[str] = ()
) -> Experiment:
    """The one experiment that this means, see :func:`read_experiments`.

    Raises:
        InputError: as there, or a file with several variants and none chosen.
    """
    found = read_experiments(source, profile=profile, variant=variant, changes=changes)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise InputError(f"{source} holds {len(found)} variants ({names}); choose one with variant=")
    return found[0]


def shipped() -> tuple[str, ...]:
    """Names of the experiments of the paper that come with ammup."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))
    )


def described() -> dict[str, str]:
    """What the first line of each shipped experiment says it is."""
    return {name: _text(Path(name)).splitlines()[0].removeprefix("# ") for name in shipped()}


def _text(source: Path) -> str:
    """Of the file, or of the shipped one of that name where there is no such file."""
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
        there = f"it holds {', '.join(known)}" if known else "it holds none"
        raise InputError(f"{kind} {name!r} is not known; {there}")


def _laid(
    content: Table,
    variant: str | None,
    variants: Mapping[str, Table],
    profile: str | None,
    profiles: Mapping[str, Table],
) -> Table:
    whole, name = content, str(content.get("name", ""))
    if variant is not None:
        whole = _over(whole, variants[variant])
        name = str(variants[variant].get("name", f"{name}-{variant}"))
    if profile is not None:
        whole = _over(whole, profiles[profile])
        name = f"{name}-{profile}"
    return {**whole, "name": name} if "name" in content else whole


def _over(below: Table, above: Table) -> Table:
    """A new table: ``above`` laid over ``below``."""
    laid = dict(below)
    for name, value in above.items():
        under = laid.get(name)
        laid[name] = _over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return laid
