"""Measure many kinds of models, and compare with a central difference of an exact step in float64.

    python benchmarks/zoo.py constructs
    python benchmarks/zoo.py torchvision --only 'resnet' --json torchvision.jsonl --resume
    python benchmarks/zoo.py torchvision --json baselines/zoo/torchvision.jsonl.gz --report

The result of each case is right (S̄ within 1 %), wrong, flagged (wrong with a warning), refused (InputError), crash or
hang (300 CPU seconds). In addition, a case is damaged if the measurement changed its model. ``--json`` appends one
record for each finished case, and ``--resume`` skips the cases in that file; ``--report`` prints the tables of the
records in that file (which may be compressed by gzip) without running a case. The exit code is 1 if any case is wrong,
damaged, a crash or a hang. The collections timm and transformers need these packages; no weights are downloaded.
"""

import argparse
import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the ammup of this checkout

from zoo_parts.collection import COLLECTIONS, cases_of
from zoo_parts.summary import summary
from zoo_parts.worker import run_cases

UNACCEPTABLE = ("wrong", "crash", "hang")


def main() -> int:
    """Run the command; returns the exit code."""
    options = _options()
    records = _stored(options.json) if options.resume or options.report else {}
    if options.report:
        chosen = [record for name, record in records.items() if re.search(options.only, name)]
        print(summary(chosen) if chosen else "no record matches --only")
        return _exit_code(chosen)
    cases = [case for case in cases_of(options.collection) if re.search(options.only, case.name)]
    remaining = [case for case in cases if case.name not in records]
    if options.json and not options.resume:
        options.json.unlink(missing_ok=True)
    for i, record in enumerate(run_cases(options.collection, remaining, _print_record), 1):
        records[record["name"]] = record
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(record) + "\n")
        if sys.stderr.isatty():
            print(f"{i} of {len(remaining)}", end="\r", file=sys.stderr)
    chosen = [records[case.name] for case in cases]
    print(summary(chosen) if chosen else "no case matches --only")
    return _exit_code(chosen)


def _exit_code(records: list[dict[str, Any]]) -> int:
    return int(any(r["status"] in UNACCEPTABLE or r["damage"] for r in records))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", choices=list(COLLECTIONS))
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression that names must contain")
    parser.add_argument("--json", type=Path, metavar="FILE", help="JSON lines, one record for each case")
    parser.add_argument("--resume", action="store_true", help="skip the cases in FILE")
    parser.add_argument("--report", action="store_true", help="print the tables of FILE, and run nothing")
    options = parser.parse_args()
    if (options.resume or options.report) and options.json is None:
        parser.error("--resume and --report require --json FILE")
    return options


def _stored(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        lines = file.read().splitlines()
    return {record["name"]: record for record in map(json.loads, lines)}


def _print_record(record: dict[str, Any]) -> None:
    damage = f"  damaged: {record['damage'][0]}" if record["damage"] else ""
    print(f"{record['status']:<10} {record['name']}  {record['message'][:120]}{damage}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
