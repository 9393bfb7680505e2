"""`probe_edges`: the edge of training at several depths, from short runs at several learning rates."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ammup.errors import InputError, checked_integer
from ammup.format import brief_repr, json_rows, range_text
from ammup.measurement.late_run import Batches, SgdRun
from ammup.measurement.loss import Loss
from ammup.models.depth import Forward
from ammup.models.factory import Factory, build_model
from ammup.progress import tracked
from ammup.stats.depths import checked_depths
from ammup.stats.edge import NO_RISE, Edge, edge_errors, edge_of
from ammup.training.runs import seed_numbers

STEP = 2.0  # factor between neighbouring learning rates
MOST_RATES = 16  # at each depth
PAST = 2  # learning rates above the edge, so that a later recovery would be seen
LATE = 0.2  # the last part of a run, over which its loss is averaged
LEAST_FALL = 0.05  # share of the loss without training by which a run must decrease it
NOT_TRAINED = "the loss does not fall below that without training"
COLUMNS = ("depth", "seed", "lr", "loss", "steps", "diverged")


@dataclass(frozen=True, kw_only=True)
class EdgeCurve:
    """The edge of training as a function of depth, from short runs with the same number of steps at every depth.

    Attributes:
        table: one row for each run: depth; seed; lr; loss, the mean training loss over the last fifth of the steps,
            NaN if the run diverged; steps that were taken; diverged.
        chance: the loss without training at each depth.
        steps: number of steps of a run.
    """

    table: pd.DataFrame
    chance: dict[int, float]
    steps: int
    edges: dict[int, Edge] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = {depth: edge_of_runs(rows, self.chance[depth]) for depth, rows in _by_depth(self.table)}
        object.__setattr__(self, "edges", found)

    def __repr__(self) -> str:
        depths = f"depths {range_text(self.edges)}"
        return brief_repr(self, depths, edges=[edge.lr for edge in self.edges.values()], steps=self.steps)

    @property
    def curve(self) -> pd.DataFrame:
        """One row for each depth.

        Columns: depth; lr_star, the edge; se_log10, the standard error of log10 lr_star, NaN for one seed; flags.
        """
        errors = edge_errors(list(self.edges.values()))
        rows = [(d, e.lr, se, ", ".join(_flags(e))) for (d, e), se in zip(self.edges.items(), errors, strict=True)]
        return pd.DataFrame(rows, columns=["depth", "lr_star", "se_log10", "flags"])

    def to_frame(self) -> pd.DataFrame:
        """One row for each depth, with the columns of :attr:`curve`."""
        return self.curve

    @property
    def training_steps(self) -> float:
        """The number of training steps that were taken."""
        return float(self.table["steps"].sum())

    @property
    def warnings(self) -> tuple[str, ...]:
        """A short sentence for each depth with flags."""
        return tuple(
            f"the probed edge at L = {depth} is unreliable: {', '.join(_flags(edge))}"
            for depth, edge in self.edges.items()
            if edge.flags
        )

    def to_dict(self) -> dict[str, Any]:
        """A dict for JSON; NaN becomes None."""
        numbers = json_rows(self.curve.drop(columns="flags"))
        return {
            "steps": self.steps,
            "training_steps": self.training_steps,
            "chance": {str(depth): loss for depth, loss in self.chance.items()},
            "curve": [{**row, "flags": _flags(e)} for row, e in zip(numbers, self.edges.values(), strict=True)],
            "runs": [
                {**row, "diverged": bool(diverged)}
                for row, diverged in zip(
                    json_rows(self.table.drop(columns="diverged")), self.table["diverged"], strict=True
                )
            ],
        }


def probe_edges(
    factory: Factory,
    depths: Sequence[int],
    *,
    loss: Loss,
    lr: float,
    data: Batches,
    steps: int = 100,
    seeds: int | Sequence[int] = 3,
    batch_size: int = 128,
    forward: Forward | None = None,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> EdgeCurve:
    """Find the largest learning rate at which each depth trains, by short runs of plain SGD.

    Neighbouring learning rates differ by a factor of two. They start at ``lr``, at greater depths at the edge of the
    depth before, and are extended until they surround the edge: up to two above it, and down to one below the best.
    All seeds are trained at all of these learning rates. The edge of a seed is where the decrease of the training loss
    falls to half of that at its best learning rate, interpolated in log η (docs/edge.md), relative to the loss without
    training: that of a constant prediction (cross-entropy: the entropy of the labels; mse: half of the variance of the
    targets) or, for another loss, the loss before the first step.

    The edge at a few steps is not that of a complete training. Only the ratio of two depths, at the same number of
    steps, carries a learning rate: the rule "edge" of :func:`ammup.transfer_lr`.

    Args:
        factory: as in :func:`ammup.depth_exponent`.
        depths: at least one depth; a transfer needs those that it starts from and ends at.
        loss: "mse", "cross_entropy" or a callable, as in :func:`ammup.measure_updates`.
        lr: the first learning rate, such as the one that was tuned at the smallest depth.
        data: a :class:`ammup.Data`, or an iterable of (inputs, targets) such as a DataLoader, which is repeated.
        steps: training steps of each run; a run ends early if its loss is not finite.
        seeds: the seeds of weights and minibatches, or how many.
        batch_size: images in a minibatch of a Data.
        forward: as in :func:`ammup.measure_updates`.
        device: the device of the runs; None uses the factory's device.
        progress: show a progress bar on standard error.

    Returns:
        The edges with their standard errors, flags and price.

    Raises:
        InputError: an argument is out of range, or the model or the data cannot be used.

    Example:
        >>> import ammup
        >>> from functools import partial
        >>> data = ammup.load_data("synthetic", image_size=4, train=64, validation=8)
        >>> net = partial(ammup.cnn, width=8)
        >>> edges = ammup.probe_edges(net, [2, 4], data=data, loss="cross_entropy", lr=0.5, steps=8, batch_size=16)
        >>> edges.curve["depth"].tolist()
        [2, 4]
    """
    wanted = tuple(sorted(checked_depths(depths)))
    if not 0 < lr < math.inf:
        raise InputError(f"lr={lr!r} must be positive and finite; give the tuned learning rate")
    run = SgdRun(
        data=data,
        lr=lr,
        steps=checked_integer("steps", steps, at_least=2),
        batch_size=checked_integer("batch_size", batch_size, at_least=1),
        loss=loss,
        forward=forward,
    )
    numbers = seed_numbers(seeds)
    if not numbers:
        raise InputError(f"seeds={seeds!r}: at least one seed is needed")
    rows: list[tuple[float, ...]] = []
    chance, start = {}, lr
    for depth in tracked(wanted, "probing edges", len(wanted), show=progress, costs=wanted):
        prober = _Prober(run=run, build=partial(build_model, factory, depth, device=device), depth=depth, seeds=numbers)
        found = prober.surround(start)
        rows += [row for part in found.values() for row in part]
        chance[depth] = prober.chance
        start = min(found, key=lambda rate: abs(math.log(rate / prober.edge(found).lr)))
    return EdgeCurve(table=pd.DataFrame(rows, columns=list(COLUMNS)), chance=chance, steps=steps)


def edge_of_runs(runs: pd.DataFrame, chance: float) -> Edge:
    """The edge of one depth from the losses of its runs: columns seed, lr, loss, diverged.

    A loss above that without training counts as the latter, as the accuracy of a run that fails is that of a guess. If
    not, a very large loss would move the interpolated edge to the learning rate below it.
    """
    losses = runs.pivot_table(index="seed", columns="lr", values="loss", dropna=False).sort_index(axis=1)
    diverged = runs.pivot_table(index="seed", columns="lr", values="diverged", aggfunc="max", dropna=False)
    return edge_of(
        np.log10(losses.columns.to_numpy(dtype=np.float64)),
        -losses.clip(upper=chance).to_numpy(dtype=np.float64),
        diverged.sort_index(axis=1).to_numpy(dtype=bool),
        chance=-chance,
        least_rise=LEAST_FALL,
    )


def _flags(edge: Edge) -> list[str]:
    return [NOT_TRAINED if flag == NO_RISE else flag for flag in edge.flags]


def _by_depth(table: pd.DataFrame) -> Iterable[tuple[int, pd.DataFrame]]:
    return ((int(str(depth)), rows) for depth, rows in table.groupby("depth"))


@dataclass(kw_only=True)
class _Prober:
    """The short runs of one depth.

    Attributes:
        chance: the loss without training, known after the first run.
    """

    run: SgdRun
    build: Callable[[int], nn.Module]
    depth: int
    seeds: tuple[int, ...]
    chance: float = math.nan

    def surround(self, start: float) -> dict[float, list[tuple[float, ...]]]:
        """The runs by learning rate, from below the best one to above the edge."""
        found = {start: self.runs(start)}
        while len(found) < MOST_RATES:
            rates = sorted(found)
            best = [self.best(found, seed) for seed in range(len(self.seeds))]
            edges = [self.fall(found, seed) for seed in range(len(self.seeds))]
            untrained = [lr for lr, loss in best if loss > (1 - LEAST_FALL) * self.chance]
            if rates[-1] in untrained:
                rate = rates[-1] * STEP
            elif untrained or any(lr == rates[0] for lr, _ in best):
                rate = rates[0] / STEP
            elif any(math.isnan(edge) or sum(rate > edge for rate in rates) < PAST for edge in edges):
                rate = rates[-1] * STEP
            else:
                break
            found[rate] = self.runs(rate)
        return found

    def edge(self, found: dict[float, list[tuple[float, ...]]]) -> Edge:
        """The edge of all seeds."""
        rows = [row for part in found.values() for row in part]
        return edge_of_runs(pd.DataFrame(rows, columns=list(COLUMNS)), self.chance)

    def fall(self, found: dict[float, list[tuple[float, ...]]], seed: int) -> float:
        """The edge of one seed, NaN if its loss does not rise again."""
        one = self.edge({rate: [rows[seed]] for rate, rows in found.items()})
        return one.lr if one.seeds else math.nan

    def best(self, found: dict[float, list[tuple[float, ...]]], seed: int) -> tuple[float, float]:
        """(Best learning rate, loss there) of one seed."""
        losses = {rate: math.inf if rows[seed][5] else rows[seed][3] for rate, rows in found.items()}
        rate = min(losses, key=losses.__getitem__)
        return rate, losses[rate]

    def runs(self, lr: float) -> list[tuple[float, ...]]:
        """One row for each seed."""
        return [self.one(lr, seed) for seed in self.seeds]

    def one(self, lr: float, seed: int) -> tuple[float, ...]:
        """The row of one run."""
        run, model = replace(self.run, lr=lr), self.build(seed).train()
        losses = run.train(model, _ignore, key=(self.depth, seed), until_diverged=True)
        if math.isnan(self.chance):
            constant = run.constant_loss(seed)
            self.chance = losses[0] if constant is None and losses else (constant or 0.0)
        diverged = len(losses) < run.steps
        late = math.nan if diverged else float(np.mean(losses[-max(1, round(LATE * run.steps)) :]))
        return (self.depth, seed, lr, late, len(losses), diverged)


def _ignore(_step: int, _model: nn.Module, _batch: Any) -> None:
    """Observe nothing."""
