"""Real trainings of the recipes on a small part of CIFAR-10."""

import contextlib
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import ammup

from .recipes import Recipe
from .records import GRID, NO_RATE, RANGE_TEST, Record
from .replicas import grid_runs
from .without_rate import WITHOUT_RATE, WITHOUT_RATE_RUNS, Training

SIZE, TRAIN, VALIDATION, TEST, BATCH = 8, 4000, 500, 2000, 50
STEPS, PARTS, RUNGS = 120, 40, 8
RANGE_STEPS, RANGE = 100, (1e-7, 10.0)  # as fastai's lr_find
Make = Callable[[nn.Module], Training]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Standardized images (N, 3, 8, 8) and labels of three splits."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def load(cls, source: str) -> Self:
        """The first images of CIFAR-10, in the order of a fixed seed."""
        data = ammup.load_data(source, image_size=SIZE, train=TRAIN, validation=VALIDATION, seed=0)
        mean, deviation = (torch.tensor(one, dtype=torch.float32) for one in data.standardization())

        def split(images: Any, labels: Any) -> tuple[Tensor, Tensor]:
            floats = (torch.from_numpy(np.asarray(images)).float() / 255 - mean) / deviation
            return floats.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(np.asarray(labels))

        chosen = np.sort(np.random.default_rng(0).permutation(len(data.test_labels))[:TEST])
        return cls(
            train=split(data.train_images[:], data.train_labels),
            validation=split(data.val_images[:], data.val_labels),
            test=split(data.test_images[:][chosen], data.test_labels[chosen]),
        )

    def batch(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """A minibatch of the training images, each shifted by up to one pixel and flipped with probability 1/2."""
        images, labels = self.train
        chosen = torch.randint(len(labels), (BATCH,), generator=random)
        padded = F.pad(images[chosen], (1, 1, 1, 1))
        down, right = torch.randint(3, (2, BATCH, 1), generator=random)
        rows, columns = down + torch.arange(SIZE), right + torch.arange(SIZE)
        flip = torch.rand(BATCH, generator=random) < 0.5
        columns = torch.where(flip[:, None], columns.flip(1), columns)
        which = torch.arange(BATCH)[:, None, None]
        cropped = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
        return cropped.permute(0, 3, 1, 2).contiguous(), labels[chosen]


def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images that the net classifies correctly."""
    net.eval()
    with torch.no_grad():
        right = sum(
            int((net(x).argmax(1) == y).sum()) for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    net.train()
    return right / len(labels)


def trained(
    recipe: Recipe, images: Images, make: Make, *, kind: str, depth: int, lr: float, seed: int, steps: int = STEPS
) -> Record:
    """A complete run; it ends early if the loss is not finite."""
    begin = time.process_time()
    torch.manual_seed(seed)
    training = make(recipe.build(depth).train())
    random, again = (torch.Generator().manual_seed(seed + start) for start in (1000, 2000))
    losses, scores, test = list[float](), list[float](), None
    schedule = recipe.schedule(training.optimizer, steps) if training.scheduled else None
    for step in range(1, steps + 1):
        losses.append(_step(training, *images.batch(random)))
        if not math.isfinite(losses[-1]):
            break
        if schedule is not None:
            schedule.step()
        if step % (steps // RUNGS) == 0:
            with training.evaluated(lambda: images.batch(again)) as net:
                scores.append(accuracy(net, *images.validation))
                test = round(accuracy(net, *images.test), 5) if step == steps else None
    parts = _parts(losses, steps // PARTS)
    return Record(
        kind=kind, depth=depth, lr=lr, seed=seed, steps=steps, losses=parts, scores=tuple(scores), test=test,
        seconds=round(time.process_time() - begin, 2),
    )  # fmt: skip


def _step(training: Training, images: Tensor, labels: Tensor) -> float:
    """The loss before a step."""
    loss = F.cross_entropy(training.net(images), labels)
    training.optimizer.zero_grad()
    loss.backward()
    training.optimizer.step()
    training.after_step()
    return loss.item()


def _parts(losses: list[float], size: int) -> tuple[float, ...]:
    """The mean of each part of this size, of finite losses; the part in which a run diverged is left out."""
    parts = [losses[k : k + size] for k in range(0, len(losses), size)]
    return tuple(round(float(np.mean(part)), 4) for part in parts if len(part) == size and math.isfinite(part[-1]))


def grid_of(recipe: Recipe, images: Images, *, depth: int, seed: int) -> list[Record]:
    """The runs with the optimizer of the recipe at all of its learning rates."""
    random = torch.Generator().manual_seed(seed + 1000)
    return grid_runs(
        recipe, partial(images.batch, random), validation=images.validation, test=images.test, depth=depth, seed=seed,
        steps=STEPS, parts=PARTS, rungs=RUNGS,
    )  # fmt: skip


def grid_run(recipe: Recipe, images: Images, *, depth: int, lr: float, seed: int) -> Record:
    """One run of the grid by itself, with the optimizer of torch."""

    def make(net: nn.Module) -> Training:
        return Training(net=net, optimizer=recipe.tuned_by_rate(net.parameters(), lr))

    return trained(recipe, images, make, kind=GRID, depth=depth, lr=lr, seed=seed)


def run_without_rate(recipe: Recipe, images: Images, kind: str, *, depth: int, seed: int) -> Record:
    """A run with an optimizer that needs no learning rate; ``kind`` is a key of `WITHOUT_RATE_RUNS`."""
    name, trainings = WITHOUT_RATE_RUNS[kind]
    steps = trainings * STEPS
    make = partial(WITHOUT_RATE[name], recipe, steps=steps)
    return trained(recipe, images, make, kind=kind, depth=depth, lr=NO_RATE, seed=seed, steps=steps)


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """Minibatches that were drawn before."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self.batches[number]


def range_test(recipe: Recipe, images: Images, *, depth: int, seed: int) -> Record:
    """The losses of the range test of torch-lr-finder: the rate rises exponentially with each step.

    They are smoothed by its default, an exponential mean with the factor 0.05, and end at five times the least one.
    """
    from torch_lr_finder import LRFinder

    start = time.process_time()
    torch.manual_seed(seed)
    net, random = recipe.build(depth), torch.Generator().manual_seed(seed + 1000)
    low, high = RANGE
    finder = LRFinder(net, recipe.tuned_by_rate(net.parameters(), low), nn.CrossEntropyLoss(), device="cpu")
    loader = DataLoader(_Batches([images.batch(random) for _ in range(RANGE_STEPS)]), batch_size=None)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        finder.range_test(loader, end_lr=high, num_iter=RANGE_STEPS)
    losses = tuple(round(float(loss), 5) for loss in finder.history["loss"])
    return Record(
        kind=RANGE_TEST, depth=depth, lr=high, seed=seed, steps=RANGE_STEPS, losses=losses, scores=(), test=None,
        seconds=round(time.process_time() - start, 2),
    )  # fmt: skip
