"""The table of alarms of synthetic roots, from the counts of `error_budget.py`."""

from collections.abc import Mapping
from typing import Any

from scipy import stats

CONFIDENCE = 0.95


def upper_bound(count: int, trials: int) -> float:
    """The one-sided Clopper-Pearson bound of a rate."""
    return float(stats.beta.ppf(CONFIDENCE, count + 1, trials - count)) if count < trials else 1.0


def budget_table(results: Mapping[str, Any], budget: float = 0.01) -> str:
    """One row for all claims together, and one for each claim with an alarm."""
    roots = min(one["roots"] for one in results.values())
    together = {name: set().union(*(one[name] for one in results.values())) for name in ("verdict", "alarm")}
    lines = [
        "| claim | population | roots | other verdict | alarm | 95 % bound of alarms | nominal |",
        "|---|---|---|---|---|---|---|",
    ]
    count = sum(root < roots for root in together["alarm"])
    verdicts = sum(root < roots for root in together["verdict"])
    nominal = sum(one["nominal"] for one in results.values())
    lines.append(
        f"| all {len(results)} claims | | {roots} | {verdicts} | {count} | {upper_bound(count, roots):.2%} "
        f"(budget {budget:.0%}) | {nominal:.2%} |"
    )
    for name, one in sorted(results.items(), key=lambda item: -len(item[1]["alarm"])):
        if one["alarm"]:
            lines.append(
                f"| {name} | {one['source']} | {one['roots']} | {len(one['verdict'])} | {len(one['alarm'])} | "
                f"{upper_bound(len(one['alarm']), one['roots']):.2%} | {one['nominal']:.2%} |"
            )
    measured = sum(one["source"] == "rows" for one in results.values())
    lines.append("")
    lines.append(f"Populations: {measured} from stored rows, {len(results) - measured} from records.")
    return "\n".join(lines)
