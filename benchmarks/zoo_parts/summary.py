"""Tables of the records: counts by group, the failures and the times."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

STATUSES = ("right", "wrong", "flagged", "refused", "crash", "hang", "unresolved", "invalid")
Record = dict[str, Any]


def summary(records: Sequence[Record]) -> str:
    """The counts, the failures and the times, as text."""
    parts = [_counts(records), _failures(records), _times(records)]
    return "\n\n".join(part for part in parts if part)


def _counts(records: Sequence[Record]) -> str:
    groups = list(dict.fromkeys(record["group"] for record in records))
    width = max(len(group) for group in [*groups, "all"])
    lines = [f"{'group':<{width}} {'cases':>5} " + " ".join(f"{s:>10}" for s in STATUSES) + f" {'damaged':>8}"]
    for group in [*groups, "all"]:
        chosen = [r for r in records if group in ("all", r["group"])]
        counts = [sum(r["status"] == status for r in chosen) for status in STATUSES]
        cells = " ".join(f"{count or '·':>10}" for count in counts)
        lines.append(f"{group:<{width}} {len(chosen):>5} {cells} {sum(bool(r['damage']) for r in chosen) or '·':>8}")
    return "\n".join(lines)


def _failures(records: Sequence[Record]) -> str:
    lines = []
    for status in STATUSES[1:]:
        chosen = sorted((r for r in records if r["status"] == status), key=_severity)
        if chosen:
            lines.append(f"{status} ({len(chosen)})")
            lines += [f"  {r['name']} [{r['group']}]: {r['message'][:200]}" for r in chosen]
    damaged = [r for r in records if r["damage"]]
    if damaged:
        lines.append(f"damaged ({len(damaged)})")
        lines += [f"  {r['name']} [{r['group']}]: {'; '.join(r['damage'][:4])[:240]}" for r in damaged]
    return "\n".join(lines)


def _severity(record: Record) -> float:
    deviation = record["deviation"]
    return 0.0 if deviation is None or math.isnan(deviation) else -abs(deviation)


def _times(records: Sequence[Record]) -> str:
    timed = [r for r in records if r["status"] in ("right", "wrong", "flagged") and r["training_seconds"]]
    ratios = sorted((r["seconds"] / r["training_seconds"], r["name"]) for r in timed if not math.isnan(r["seconds"]))
    if not ratios:
        return ""
    median = statistics.median(ratio for ratio, _ in ratios)
    slowest = ", ".join(f"{name} {ratio:.1f}" for ratio, name in ratios[-5:][::-1])
    errors = sorted((abs(r["deviation"]), r["name"]) for r in records if r["status"] == "right" and r["oracle"])
    errors = [(error, name) for error, name in errors if not math.isnan(error)]
    lines = [f"CPU time of measure_updates / (forward + backward pass): median {median:.1f}, slowest {slowest}"]
    if errors:
        worst = ", ".join(f"{name} {error:.1e}" for error, name in errors[-5:][::-1])
        lines.append(
            f"error of S̄ of right cases: median {statistics.median(e for e, _ in errors):.1e}, largest {worst}"
        )
    return "\n".join(lines)
