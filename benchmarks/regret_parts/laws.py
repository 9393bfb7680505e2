"""The rules that `benchmarks/rule_regret.py` compares, and the price of each."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from tracked.search import GRIDS, Grids

from ammup.experiments.analysis import EDGE, MEASURED, MEASURED_LATE, edge_rule, rule_curves
from ammup.experiments.record import SweepRecord
from ammup.measurement.depth_law import PASSES_PER_STEP, STEPS_PER_MEASUREMENT
from ammup.measurement.edge_probe import LEAST_FALL
from ammup.stats.edge import edge_of
from ammup.stats.held_out import Law, Rules
from ammup.stats.power_law import fit_power_law
from ammup.stats.seed_edges import SeedEdges
from regret_parts import sharpness

PARTS = (0.1, 0.25, 0.5)  # of the steps of a run, at which a probed edge is read
WINDOW = 10  # learning rates around the edge that a probe trains


def rules_of(record: SweepRecord, table: pd.DataFrame) -> Rules:
    """All rules that are defined for a sweep.

    Args:
        record: the sweep.
        table: the measured sharpness.
    """
    curves = rule_curves(record)
    rules: dict[str, Law | partial[Law]] = dict(curves)
    if MEASURED in curves:
        rules["measured-fit"] = fitted(curves[MEASURED])
    draws = sharpness.of(record, table)
    if set(draws) == set(record.experiment.grid.depths):
        raw = {depth: float(np.exp(np.mean(np.log(values)))) for depth, values in draws.items()}
        rules |= {"sharpness": raw, "sharpness-fit": fitted(raw)}
    rules |= {EDGE: edge_rule(record), "edge-fit": partial(fitted_edges, edge_rule(record))}
    if GRIDS.is_file() and record.experiment.name in set(Grids.read().experiment.tolist()):
        rules |= {f"edge at {share:.0%}": partial(early_edges, record.experiment.name, share) for share in PARTS}
    return rules


def fitted(curve: Mapping[int, float]) -> dict[int, float]:
    """The power law fitted to a curve, at its depths."""
    law = fit_power_law(list(curve), list(curve.values()))
    return {depth: float(law.predict(depth)) for depth in curve}


def fitted_edges(edges: SeedEdges, seeds: tuple[int, ...]) -> dict[int, float]:
    """The power law fitted to the edges of these seeds."""
    return fitted(edges(seeds))


def early_edges(name: str, share: float, seeds: tuple[int, ...]) -> dict[int, float]:
    """The edges of these seeds after a share of the steps, by the training loss as in :func:`ammup.probe_edges`."""
    grids, found = Grids.read(), {}
    chance = float(np.log(10))  # the entropy of ten classes
    for depth in sorted(set(grids.depth[grids.experiment == name].tolist())):
        at = (grids.experiment == name) & (grids.depth == depth) & np.isin(grids.seed, seeds)
        losses = grids.losses[at].astype(np.float64)
        until = max(1, round(share * losses.shape[2]))
        late = losses[:, :, until - max(1, round(0.2 * until)) : until].mean(axis=2)
        diverged = ~np.isfinite(late)
        edge = edge_of(
            np.log10(grids.lrs[at][0]), np.where(diverged, np.nan, -np.minimum(late, chance)), diverged, chance=-chance,
            least_rise=LEAST_FALL,
        )  # fmt: skip
        found[depth] = edge.lr
    return found


def price_of(rule: str, record: SweepRecord, table: pd.DataFrame) -> float:
    """The training steps of a rule's measurement, divided by those of one training at one depth."""
    depths = len(record.experiment.grid.depths)
    training = record.experiment.training
    images = record.experiment.data.train
    one = np.nan if images is None else -(-images // training.batch_size) * training.epochs
    short = record.measurements
    if rule.startswith("sharpness"):
        return float(table[table["key"] == record.experiment.key]["passes"].sum() / PASSES_PER_STEP / one)
    if rule.startswith(MEASURED_LATE):
        steps = short[short["step"] > 0].groupby(["depth", "seed"])["step"].max().sum()
        return float((steps + STEPS_PER_MEASUREMENT * (short["step"] > 0).sum()) / one)
    if rule.startswith(MEASURED):
        return float(STEPS_PER_MEASUREMENT * (short["step"] == 0).sum() / one)
    half = record.runs["seed"].nunique() / 2  # the seeds that the edge is estimated from
    shares = {"edge": 1.0, "edge-fit": 1.0} | {f"edge at {share:.0%}": share for share in PARTS}
    if rule in shares:
        return depths * half * WINDOW * shares[rule]
    return (depths - 1) * half * len(record.experiment.grid.learning_rates) if rule == "swept" else 0.0
