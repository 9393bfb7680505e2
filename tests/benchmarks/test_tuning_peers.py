"""The comparison of ways to find a learning rate: stored runs, curves and rules of range tests."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peers.tuning_parts import records
from peers.tuning_parts.curves import CHANCE, family_of, range_curve
from peers.tuning_parts.range_rules import steepest, valley
from peers.tuning_parts.real_runs import PARTS, RUNGS, STEPS
from peers.tuning_parts.recipes import RECIPES
from peers.tuning_parts.records import FOLDER, GRID, RANGE_TEST, Record, path_of, read, write
from peers.tuning_parts.replicas import Replicas

RECIPE = RECIPES["resnet-sgd"]


def _run(depth: int, lr: float, seed: int, *, diverged: bool = False) -> Record:
    place = math.log10(lr) + 1
    losses, scores = (2.3 - 0.01 * part for part in range(PARTS)), (0.5 - 0.1 * place**2 for _ in range(RUNGS))
    parts, rungs = tuple(losses), tuple(scores)
    return Record(
        kind=GRID, depth=depth, lr=lr, seed=seed, steps=120, seconds=1.0, test=None if diverged else rungs[-1] - 0.01,
        losses=parts[:3] if diverged else parts, scores=rungs[:1] if diverged else rungs,
    )  # fmt: skip


def _runs(seed: int) -> list[Record]:
    return [
        _run(depth, lr, seed, diverged=depth > 1 and lr > 1) for depth in RECIPE.depths for lr in RECIPE.lrs
    ]  # fmt: skip


def _fastai(lrs: list[float], losses: list[float]) -> float:
    """The rule by its definition: every decreasing subsequence is extended by every later and smaller loss."""
    longest, length = 0, [1] * len(losses)
    for later, loss in enumerate(losses):
        for before in range(later):
            if loss < losses[before] and length[before] + 1 > length[later]:
                length[later] = length[before] + 1
        if length[later] > length[longest]:
            longest = later
    if length[longest] == 1:
        return lrs[0]
    share = length[longest] / 3
    return lrs[longest - length[longest] + int(share) + int(share / 2)]


@pytest.mark.parametrize("seed", range(20))
def test_the_valley_is_that_of_the_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    lrs = np.logspace(-7, 1, 100)
    losses = 2.3 - np.linspace(0, 1, 100) + random.normal(0, 0.2, 100) + np.maximum(0, np.log10(lrs)) ** 2
    assert valley(lrs, losses) == _fastai(lrs[10:-5].tolist(), losses[10:-5].tolist())


def test_the_valley_of_a_rising_loss_is_its_start() -> None:
    lrs = np.logspace(-7, 1, 100)
    assert valley(lrs, np.linspace(1, 2, 100)) == lrs[10]


def test_the_steepest_descent_is_where_torch_lr_finder_suggests() -> None:
    finder = pytest.importorskip("torch_lr_finder").LRFinder.__new__(pytest.importorskip("torch_lr_finder").LRFinder)
    lrs, losses = np.logspace(-7, 1, 100), 2.3 - 1 / (1 + np.exp(-5 * (np.log10(np.logspace(-7, 1, 100)) + 2)))
    finder.history = {"lr": lrs.tolist(), "loss": losses.tolist()}
    import matplotlib as mpl

    mpl.use("Agg")
    _, suggested = finder.plot(ax=mpl.pyplot.figure().subplots())
    mpl.pyplot.close("all")
    assert steepest(lrs, losses) == suggested


def test_runs_are_read_as_they_were_written(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FOLDER", tmp_path / "new")
    assert read("net") == ()
    runs = tuple(_runs(0))
    write("net", runs)
    first = path_of("net").read_bytes()
    write("net", runs[::-1])
    assert path_of("net").read_bytes() == first
    assert set(read("net")) == set(runs)


def test_curves_have_chance_and_infinite_losses_where_runs_diverged() -> None:
    family = family_of(RECIPE, [*_runs(0), *_runs(1)])
    curves = family.seeds[0][RECIPE.depths[-1]]
    failed = curves.u > 0
    assert failed.any()
    assert (curves.accuracy[failed] == CHANCE).all()
    assert (curves.test[failed] == CHANCE).all()
    assert np.isinf(curves.losses[failed, 3:]).all()
    assert np.isfinite(curves.losses[~failed]).all()
    assert (curves.scores[failed, 1:] == -math.inf).all()
    assert 10**-1.2 < curves.best < 10**-0.8
    np.testing.assert_allclose(curves.test[~failed], curves.accuracy[~failed] - 0.01)


def test_between_two_rates_curves_are_interpolated_and_a_diverged_neighbour_counts() -> None:
    curves = family_of(RECIPE, _runs(0)).seeds[0][RECIPE.depths[-1]]
    low, high = 10 ** curves.u[2:4]
    assert curves.accuracy_at(math.sqrt(low * high)) == pytest.approx(curves.accuracy[2:4].mean())
    last = int(np.flatnonzero(curves.u < 0)[-1])
    beyond = 10 ** curves.u[last : last + 2].mean()
    assert np.isinf(curves.losses_at(beyond)[-1])
    assert curves.scores_at(beyond)[-1] == -math.inf
    assert np.isfinite(curves.losses_at(10 ** curves.u[last])).all()


def test_a_seed_without_its_complete_grid_is_left_out() -> None:
    assert list(family_of(RECIPE, [*_runs(0), *_runs(1)[:-1]]).seeds) == [0]


def test_a_range_test_that_ended_early_has_the_rates_of_its_steps() -> None:
    test = replace(_run(4, 10.0, 0), kind=RANGE_TEST, steps=100, losses=(2.3,) * 60, scores=(), test=None)
    curve = range_curve(family_of(RECIPE, [*_runs(0), test]), 0, 4)
    assert curve is not None
    np.testing.assert_allclose(curve[0], np.geomspace(1e-7, 10, 100)[:60])
    assert range_curve(family_of(RECIPE, _runs(0)), 0, 4) is None


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.jsonl.gz")), ids=lambda path: path.name)
def test_stored_runs_have_complete_grids_and_no_run_twice(path: Path) -> None:
    name = path.name.removesuffix(".jsonl.gz")
    runs, recipe = read(name), RECIPES[name]
    assert len({run.key for run in runs}) == len(runs)
    family = family_of(recipe, runs)
    assert family.depths[0] == recipe.depths[0]
    assert family.depths[-1] == recipe.depths[-1]
    assert {run.lr for run in runs if run.kind == GRID} == set(recipe.lrs)
    assert {run.steps for run in runs if run.kind == GRID} == {STEPS}


@pytest.mark.parametrize("name", list(RECIPES))
def test_stacked_runs_are_those_of_a_loop_with_the_optimizer_of_torch(name: str) -> None:
    """Also the statistics of batch norm, by the outputs of the trained nets in evaluation mode."""
    recipe, steps = RECIPES[name], 6
    random = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(8, 3, 8, 8, generator=random), torch.randint(10, (8,), generator=random)) for _ in range(steps)
    ]
    lrs = recipe.lrs[2:6:3]
    torch.manual_seed(0)
    net = recipe.build(2).train()
    single = [copy.deepcopy(net) for _ in lrs]
    runs = Replicas(net=net, recipe=recipe, lrs=torch.tensor(lrs), steps=steps)
    stacked = torch.stack([runs.step(*batch) for batch in batches])
    for place, (model, lr) in enumerate(zip(single, lrs, strict=True)):
        optimizer = recipe.tuned_by_rate(model.parameters(), lr)
        schedule = recipe.schedule(optimizer, steps)
        for number, (images, labels) in enumerate(batches):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            torch.testing.assert_close(stacked[number, place], loss.detach(), rtol=1e-3, atol=1e-4)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    outputs = runs.outputs(batches[0][0]).detach()
    for place, model in enumerate(single):
        torch.testing.assert_close(outputs[place], model.eval()(batches[0][0]).detach(), rtol=1e-2, atol=1e-3)
