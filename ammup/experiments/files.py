"""Experiment files: a TOML file defines an experiment, its variants, and profiles that make it smaller."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.experiments.shipped import read_text
from ammup.parsing import parse_toml

Table = dict[str, Any]


def read_experiments(
    source: str | Path, *, profile: str | None = None, variant: str | None = None, changes: Sequence[str] = ()
) -> tuple[Experiment, ...]:
    """Read the experiments of a TOML file.

    In addition to the tables of an :class:`Experiment`, a file may contain ``[variants.NAME]`` and ``[profiles.NAME]``.
    They override the base settings, tables recursively: first the variant, then the profile, then the changes. The name
    of an experiment is "FILE-VARIANT-PROFILE", where FILE is the name in the file; if the variant sets a name, that
    name replaces "FILE-VARIANT".

    Args:
        source: path of the TOML file, or the name of an experiment that comes with ammup, see
                :func:`ammup.experiments.shipped.shipped`.
        profile: name of a profile, such as "small"; None uses the full size.
        variant: name of a variant; None returns an experiment for each variant.
        changes: settings such as "grid.seeds=3", applied to every experiment.

    Raises:
        InputError: the file cannot be read, a name is unknown, or the content is not an experiment.
    """
    text = read_text(source)
    try:
        content = parse_toml(text)
        variants, profiles = _pop_tables(content, "variants"), _pop_tables(content, "profiles")
        _check_name("variant", variant, variants)
        _check_name("profile", profile, profiles)
        selected: list[str | None] = [variant] if variant or not variants else list(variants)
        return tuple(
            Experiment.from_dict(_override(content, one, variants, profile, profiles), changes=changes)
            for one in selected
        )
    except InputError as error:
        raise error.prefixed(f"{source}: ") from error


def read_experiment(
    source: str | Path, *, profile: str | None = None, variant: str | None = None, changes: Sequence[str] = ()
) -> Experiment:
    """Read the only experiment of a TOML file; the arguments are those of :func:`read_experiments`.

    Raises:
        InputError: as for :func:`read_experiments`, or the file has several variants and ``variant`` is None.
    """
    experiments = read_experiments(source, profile=profile, variant=variant, changes=changes)
    if len(experiments) > 1:
        names = ", ".join(one.name for one in experiments)
        raise InputError(f"{source} has {len(experiments)} variants ({names}); choose one with variant=")
    return experiments[0]


def _pop_tables(content: Table, name: str) -> Mapping[str, Table]:
    """Remove the table of this name from the content, and return the tables inside it."""
    tables = content.pop(name, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InputError(f"{name}: expected tables such as [{name}.small]")
    return tables


def _check_name(kind: str, name: str | None, tables: Mapping[str, Table]) -> None:
    if name is not None and name not in tables:
        expected = f"expected one of: {', '.join(tables)}" if tables else f"the file has no {kind}s"
        raise InputError(f"unknown {kind} {name!r}; {expected}")


def _override(
    content: Table,
    variant: str | None,
    variants: Mapping[str, Table],
    profile: str | None,
    profiles: Mapping[str, Table],
) -> Table:
    """Return the settings of one experiment: the content, overridden by a variant and a profile, with its name."""
    merged, name = content, str(content.get("name", ""))
    if variant is not None:
        merged = _merge(merged, variants[variant])
        name = str(variants[variant].get("name", f"{name}-{variant}"))
    if profile is not None:
        merged = _merge(merged, profiles[profile])
        name = f"{name}-{profile}"
    return {**merged, "name": name} if "name" in content else merged


def _merge(base: Table, overrides: Table) -> Table:
    """Return a new table with the values of ``base``, recursively overridden by those of ``overrides``."""
    merged = dict(base)
    for name, value in overrides.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
