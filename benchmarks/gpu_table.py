"""Print the table of the records of benchmarks/gpu.sh, baselines/gpu/*.json, in Markdown.

python -m benchmarks.gpu_table [FILE ...]
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parents[1] / "baselines" / "gpu"


def table(record: Mapping[str, Any]) -> str:
    """Images times replicas per second of each method, in Markdown."""
    ways = list(dict.fromkeys(cell["way"] for cell in record["cells"]))
    rows: dict[tuple[int, str, int], dict[str, Any]] = {}
    for cell in record["cells"]:
        rows.setdefault((cell["C"], cell["dtype"], cell["replicas"]), {})[cell["way"]] = cell
    tests = ", ".join(f"{name}: {state}" for name, state in record["checks"].items())
    lines = [
        f"{record['device']} ({record['machine']}), torch {record['torch']}, commit {record['commit']}; {tests}",
        "",
        f"| C, dtype, replicas | {' | '.join(ways)} | ours / obvious | ours / best other | of the roofline |",
        f"|{'---|' * (len(ways) + 4)}",
    ]
    for (width, dtype, replicas), cells in rows.items():
        rates = {way: cell["images_per_second"] for way, cell in cells.items() if "images_per_second" in cell}
        best = max((rate for way, rate in rates.items() if way.startswith("ours")), default=None)
        others = [rate for way, rate in rates.items() if not way.startswith("ours")]
        ratios = [_ratio(best, rates.get("obvious loop")), _ratio(best, max(others, default=None))]
        share = max(
            (cell["roofline"] for way, cell in cells.items() if way in rates and way[:4] == "ours"), default=None
        )
        shown = [_shown(cells[way]) for way in ways]
        percent = "not measured" if share is None else f"{share:.0%}"
        lines.append(f"| {' | '.join([f'{width}, {dtype}, {replicas}', *shown, *ratios, percent])} |")
    return "\n".join(lines)


def _ratio(ours: float | None, other: float | None) -> str:
    return "not measured" if ours is None or other is None else f"{ours / other:.2f}"


def _shown(cell: Mapping[str, Any]) -> str:
    return f"{cell['images_per_second']:,.0f}" if "images_per_second" in cell else str(cell["reason"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="records; by default all of baselines/gpu")
    files = parser.parse_args().files or sorted(RECORDS.glob("*.json"))
    if not files:
        raise SystemExit("baselines/gpu contains no record; write one with benchmarks/gpu.sh on a machine with a GPU")
    print("\n\n".join(table(json.loads(path.read_text(encoding="utf-8"))) for path in files))


if __name__ == "__main__":
    main()
