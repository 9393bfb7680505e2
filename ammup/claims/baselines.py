"""Baseline files: one JSON file for each group of claims, ``baselines/<group>.json``.

`ammup claims` prints the ledger from them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ammup.claims.record import BaselineFile, ClaimRecord
from ammup.gate.environment import write_json
from ammup.validation import parse_versioned

INSTALLED = Path(__file__).parent / "stored"


def folder() -> Path:
    """The folder of the baselines: in the checkout, or the one that is installed with the package."""
    checkout = Path(__file__).parents[2] / "baselines"
    return checkout if (checkout.parent / "pyproject.toml").is_file() else INSTALLED


def read(where: Path | None = None) -> dict[str, ClaimRecord]:
    """Every record by claim id, in the order of the files.

    Raises:
        InputError: invalid JSON, another schema version, or an invalid record.
    """
    records: dict[str, ClaimRecord] = {}
    for path in sorted((where or folder()).glob("*.json")):
        records |= parse(path.read_bytes(), str(path))
    return records


def parse(text: str | bytes, name: str) -> dict[str, ClaimRecord]:
    """The records of one file's text, by claim id; arguments and errors as of :func:`read`."""
    remedy = "restore it from git, or delete it and measure again"
    file = parse_versioned(BaselineFile, text, name=name, what="a baseline file", remedy=remedy)
    return {record.id: record for record in file.claims}


def write(records: Iterable[ClaimRecord], group: str, where: Path | None = None) -> Path:
    """Write one group's file atomically."""
    path = (where or folder()) / f"{group}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(BaselineFile(schema_version=BaselineFile.READS, claims=tuple(records)).to_dict(), path)
    return path


def ordered(records: Iterable[ClaimRecord], ids: Sequence[str]) -> list[ClaimRecord]:
    """Records in the order of the ids; others come last."""
    place = {name: i for i, name in enumerate(ids)}
    return sorted(records, key=lambda record: place.get(record.id, len(place)))
