"""The table of real seed roots, from the results of `seed_roots.py`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pool_parts.budget_table import upper_bound

# By claim id: {"key": digest of its definition, "roots": {root: result of this root}}.
RootResults = dict[str, dict[str, Any]]


def complete_roots(results: Mapping[str, Any]) -> list[str]:
    """The roots with which every claim was measured."""
    common = set.intersection(*(set(one["roots"]) for one in results.values()))
    return sorted(common, key=int)


def roots_table(results: Mapping[str, Any]) -> str:
    """One row for all claims together, one for each claim with an alarm, and a line on the standard errors."""
    roots = complete_roots(results)
    if not roots:
        return "No root is complete yet."
    counts = {name: [_happened(one["roots"][root]) for root in roots] for name, one in results.items()}
    together = np.any(list(counts.values()), axis=0)
    lines = [
        "| claim | roots | second look | other verdict | alarm | 95 % bound of alarms |",
        "|---|---|---|---|---|---|",
    ]
    lines.append(_line(f"all {len(results)} claims", together))
    alarmed = [name for name, one in counts.items() if np.any(one, axis=0)[2]]
    lines += [_line(name, np.array(counts[name])) for name in alarmed]
    looks = sum(one[0] for claim in counts.values() for one in claim)
    lines += [
        "",
        f"{looks} of the {len(roots) * len(results)} measurements took a second look.{_scatter(results, roots)}",
    ]
    lines += [
        f"Root {root}, {name}: {'; '.join(results[name]['roots'][root]['alarms'])}."
        for name in alarmed
        for root in roots
        if "alarms" in results[name]["roots"][root]
    ]
    return "\n".join(lines)


def _happened(result: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    return "looks" in result, "verdict" in result, "alarms" in result


def _line(name: str, happened: np.ndarray) -> str:
    """``happened`` has one row for each root: whether there was a second look, another verdict, an alarm."""
    second, other, alarm = (int(count) for count in happened.sum(axis=0))
    return f"| {name} | {len(happened)} | {second} | {other} | {alarm} | {upper_bound(alarm, len(happened)):.1%} |"


def _scatter(results: Mapping[str, Any], roots: list[str]) -> str:
    """How much the values of different roots scatter, relative to their standard errors."""
    if len(roots) < 3:
        return ""
    ratios = []
    for one in results.values():
        # Values after different numbers of looks have different errors.
        settled = [one["roots"][root] for root in roots if "looks" not in one["roots"][root]]
        first = [result for result in settled if "value" in result]
        if len(first) >= 3:
            errors = np.mean([result["se"] ** 2 for result in first]) ** 0.5
            ratios.append(np.std([result["value"] for result in first], ddof=1) / errors)
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    return (
        " The standard deviation of the values of a claim over the roots, divided by their standard error, is "
        f"{middle:.2f} (median of {len(ratios)} claims; 80 % of them between {low:.2f} and {high:.2f})."
    )
