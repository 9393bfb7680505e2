"""The tables of miss rates, from the counts of `interval_calibration.py`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ammup.claims.claim import ALPHA
from pool_parts.bootstraps import BOOTSTRAPS
from pool_parts.resampling import CLOSED

ALPHAS = (0.025, 0.005, 0.0005, ALPHA)
# Claims have a coefficient of variation of S̄ up to about this one.
MODERATE = 0.6
# The closed intervals that are compared with the bootstraps on the same resamples.
BOOTSTRAP_BESIDE = ("Student", "Hall", "ammup")
# Fewer expected misses say nothing about a rate within a factor of two.
LEAST_EXPECTED = 10


def split(results: Mapping[str, Any], variation: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of the cases with a coefficient of variation of at most ``MODERATE``, and of the others."""
    moderate = {name: one for name, one in results.items() if variation[name] <= MODERATE}
    return moderate, {name: one for name, one in results.items() if name not in moderate}


def coverage_tables(results: Mapping[str, Any], variation: Mapping[str, float]) -> str:
    """The tables as text."""
    moderate, strong = split(results, variation)
    return "\n\n".join([methods_table(moderate), methods_table(strong), case_table(results)])


def _cells(
    results: Mapping[str, Any], method: str, level: int, *, least: int = 0
) -> dict[tuple[str, int], list[float]]:
    """(misses below / nominal, misses above / nominal, width) of every case and number of draws with enough misses."""
    cells = {}
    for name, by_draws in results.items():
        for n, one in by_draws.items():
            nominal = one["resamples"] * ALPHAS[level]
            if nominal >= LEAST_EXPECTED and int(n) >= least:
                below, above, width = one["methods"][method][level]
                cells[name, int(n)] = [below / nominal, above / nominal, width]
    return cells


def methods_table(results: Mapping[str, Any], least: int = 32) -> str:
    """Quantiles over cases with at least ``least`` draws of the larger of both sides' rates."""
    lines = [
        "| method | level | median | 90 % of cases | worst | smallest | width |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in CLOSED:
        for level, alpha in enumerate(ALPHAS):
            cells = np.array(list(_cells(results, method, level, least=least).values())).reshape(-1, 3)
            if len(cells):
                worst = cells[:, :2].max(axis=1)
                lines.append(
                    f"| {method} | {1 - 2 * alpha:.5g} | {np.median(worst):.2f} | {np.quantile(worst, 0.9):.2f} | "
                    f"{worst.max():.2f} | {cells[:, :2].min():.2f} | {np.nanmean(cells[:, 2]):.3f} |"
                )
    return "\n".join(lines)


def case_table(results: Mapping[str, Any], method: str = "ammup") -> str:
    """Miss rate over nominal, below and above, of every case; Student's in brackets."""
    head = "".join(f" {1 - 2 * alpha:.5g} |" for alpha in ALPHAS)
    lines = [f"| case | draws |{head}", "|---|---|" + "---|" * len(ALPHAS)]
    for name, by_draws in results.items():
        for n in sorted(by_draws, key=int):
            texts = []
            for level in range(len(ALPHAS)):
                ours = _cells(results, method, level).get((name, int(n)))
                student = _cells(results, "Student", level).get((name, int(n)))
                texts.append(
                    f" {ours[0]:.1f} {ours[1]:.1f} ({student[0]:.1f} {student[1]:.1f}) |" if ours and student else " |"
                )
            lines.append(f"| {name} | {n} |" + "".join(texts))
    return "\n".join(lines)


def bootstrap_table(results: Mapping[str, Any], variation: Mapping[str, float]) -> str:
    """The bootstraps beside closed intervals, for few draws, in cells in which S̄ varies moderately and strongly."""
    levels = [1 - 2 * alpha for alpha in ALPHAS[:2]]
    head = "".join(f" {level:.5g}: median (90 % of cases, worst) | width |" for level in levels)
    lines = [f"| S̄ varies by | draws | method |{head}", "|---|---|---|" + "---|---|" * len(levels)]
    for label, part in zip((f"at most {MODERATE}", f"more than {MODERATE}"), split(results, variation), strict=True):
        for n in sorted({int(n) for by_draws in part.values() for n in by_draws}):
            for method in (*BOOTSTRAP_BESIDE, *BOOTSTRAPS):
                texts = [_summary(part, method, level, n) for level in range(len(levels))]
                lines.append(f"| {label} | {n} | {method} |" + "".join(texts))
    return "\n".join(lines)


def _summary(results: Mapping[str, Any], method: str, level: int, n: int) -> str:
    """Median, 90 % quantile and maximum of the worse side's rate, and the mean width, over the cases with n draws."""
    cells = [cell for (_, draws), cell in _cells(results, method, level).items() if draws == n]
    if not cells:
        return " | |"
    worst = [max(below, above) for below, above, _ in cells]
    width = np.nanmean([width for *_, width in cells])
    return f" {np.median(worst):.2f} ({np.quantile(worst, 0.9):.2f}, {max(worst):.2f}) | {width:.3f} |"
