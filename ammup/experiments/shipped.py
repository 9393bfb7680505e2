"""The experiment files that come with ammup, and the text of any; without the imports that experiments need."""

from importlib.resources import files
from pathlib import Path

from ammup.errors import InputError, unknown

SHIPPED = files("ammup.experiments")


def shipped() -> tuple[str, ...]:
    """Return the names of the experiments that come with ammup."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))
    )


def described() -> dict[str, str]:
    """Return a description of each experiment that comes with ammup, by name: the first line of its file."""
    return {name: read_text(Path(name)).splitlines()[0].removeprefix("# ") for name in shipped()}


def read_text(path: str | Path) -> str:
    """Read the file; if it does not exist, the shipped experiment of this name."""
    name, source = str(path), Path(path)
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
