"""The table of alarms of synthetic roots, from the counts of `error_budget.py`."""

from collections import Counter
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
    together = {name: set().union(*(one[name] for one in results.values())) for name in ("verdict", "alarm", "second")}
    lines = [
        "| claim | population | roots | second look | other verdict | alarm | 95 % bound of alarms | nominal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    counts = {name: sum(root < roots for root in one) for name, one in together.items()}
    nominal = sum(one["nominal"] for one in results.values())
    lines.append(_line(f"all {len(results)} claims", "", roots, counts, nominal, f" (budget {budget:.0%})"))
    for name, one in sorted(results.items(), key=lambda item: -len(item[1]["alarm"])):
        if one["alarm"]:
            lines.append(
                _line(name, one["source"], one["roots"], {key: len(one[key]) for key in counts}, one["nominal"])
            )
    sources = Counter(one["source"] for one in results.values())
    lines.append("")
    lines.append(
        f"Populations: {sources['pool']} pools of the claim's own rows, {sources['rows']} fitted to stored rows, "
        f"{sources['record']} fitted to baselines."
    )
    return "\n".join(lines)


def _line(name: str, source: str, roots: int, counts: Mapping[str, int], nominal: float, note: str = "") -> str:
    bound = upper_bound(counts["alarm"], roots)
    cells = (name, source, roots, counts["second"], counts["verdict"], counts["alarm"], f"{bound:.2%}{note}",
             f"{nominal:.2%}")  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"
