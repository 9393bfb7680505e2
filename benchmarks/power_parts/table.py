"""The table of planted faults, from the results of `claim_power.py`."""

from collections.abc import Mapping
from typing import Any

from pool_parts.budget_table import CONFIDENCE
from scipy import stats

from power_parts.registry import FAULTS

GOAL = 0.95


def lower_bound(count: int, trials: int) -> float:
    """The one-sided Clopper-Pearson lower bound of a rate."""
    return float(stats.beta.ppf(1 - CONFIDENCE, count, trials - count + 1)) if count else 0.0


def probability(result: Mapping[str, Any]) -> tuple[float, float]:
    """(Rate of detection, its lower bound): of synthetic roots, or of the real ones if there are none.

    Without synthetic roots, the result of a claim does not depend on the root: it is exact, it raises an error, or its
    rows do not vary.
    """
    if "roots" in result:
        return result["alarms"] / result["roots"], lower_bound(result["alarms"], result["roots"])
    rate = sum(result["caught"]) / len(result["caught"])
    return rate, rate


def is_detected(result: Mapping[str, Any]) -> bool:
    """Whether the probability of detection is at least that of the goal, with the stated confidence."""
    return probability(result)[1] >= GOAL and all(result["caught"])


def power_table(results: Mapping[str, Any]) -> str:
    """A summary, the table of the faults that are detected, and that of the others with a remark."""
    groups = {True: [], False: []}  # type: dict[bool, list[str]]
    for name, result in results.items():
        groups[is_detected(result)].append(name)
    same_seeds = sum(results[name]["baseline"] for name in groups[False])
    cpu = sum(result["cpu"] for result in results.values())
    missing = len(FAULTS) - len(results)
    lines = [
        *([f"{missing} of {len(FAULTS)} faults are not measured yet.", ""] if missing else []),
        f"{len(groups[True])} of {len(results)} faults are detected by the named claim with a probability of at least "
        f"{GOAL:.0%}. Of the other {len(groups[False])}, {same_seeds} change the estimate of the claim from the same "
        f"seeds, so that its comparison with the baseline fails. The measurement took {cpu / 60:.0f} CPU minutes.",
        "",
        *_rows(groups[True], results),
        "",
        "Faults that the named claim does not detect with this probability:",
        "",
        *_rows(groups[False], results, remarks=True),
    ]
    return "\n".join(lines)


def _rows(names: list[str], results: Mapping[str, Any], *, remarks: bool = False) -> list[str]:
    head = ["fault", "in", "claim", "real roots", "synthetic roots", "detected"]
    head += ["same seeds", "remark"] if remarks else []
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in names:
        result, fault = results[name], FAULTS[name]
        rate, bound = probability(result)
        where = ", ".join(f"`{edit.where.partition(':')[2]}`" for edit in fault.edits)
        cells = [
            name,
            where,
            result["claim"],
            f"{sum(result['caught'])} of {len(result['caught'])}",
            str(result.get("roots", "-")),
            f"{rate:.1%} (> {bound:.1%})" if "roots" in result else f"{rate:.0%}",
        ]
        cells += ["yes" if result["baseline"] else "no", fault.remark] if remarks else []
        lines.append(f"| {' | '.join(cells)} |")
    return lines
