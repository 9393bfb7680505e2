"""Baseline files: the records of measured claims, one JSON file ``baselines/<group>.json`` for each group of claims.

`ammup claims` prints its table from these files.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ammup.claims.record import BaselineFile, ClaimRecord
from ammup.gate.environment import write_json
from ammup.validation import parse_versioned

# The folder in the installed package.
INSTALLED = Path(__file__).parent / "stored"


def folder() -> Path:
    """The folder of the baseline files: in the git checkout or, without a checkout, in the installed package."""
    checkout = Path(__file__).parents[2] / "baselines"
    return checkout if (checkout.parent / "pyproject.toml").is_file() else INSTALLED


def read(where: Path | None = None) -> dict[str, ClaimRecord]:
    """Read all records, by claim id, in the order of the files.

    Args:
        where: the folder, by default that of :func:`folder`; a missing folder has no records.

    Raises:
        InputError: invalid JSON, another schema version, or an invalid record.
    """
    records: dict[str, ClaimRecord] = {}
    for path in sorted((where or folder()).glob("*.json")):
        records |= parse(path.read_bytes(), str(path))
    return records


def parse(text: str | bytes, name: str) -> dict[str, ClaimRecord]:
    """Parse the text of one file into records, by claim id.

    Args:
        text: JSON.
        name: the file name in error messages.

    Raises:
        InputError: as in :func:`read`.
    """
    remedy = "restore it from git, or delete it and measure again"
    file = parse_versioned(BaselineFile, text, name=name, what="a baseline file", remedy=remedy)
    return {record.id: record for record in file.claims}


def write(records: Iterable[ClaimRecord], group: str, where: Path | None = None) -> Path:
    """Write the file of one group atomically, and return its path."""
    path = (where or folder()) / f"{group}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(BaselineFile(schema_version=BaselineFile.READS, claims=tuple(records)).to_dict(), path)
    return path


def ordered(records: Iterable[ClaimRecord], ids: Sequence[str]) -> list[ClaimRecord]:
    """Sort records into the order of the ids. Records with other ids come last."""
    place = {name: i for i, name in enumerate(ids)}
    return sorted(records, key=lambda record: place.get(record.id, len(place)))
