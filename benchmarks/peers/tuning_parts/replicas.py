"""Train a recipe at many learning rates at once: the weights of all runs are stacked along a first axis R.

A single small net leaves a processor waiting for Python. The runs are the same as those of a loop with torch.optim, up
to rounding; tests compare them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from .recipes import Recipe
from .records import GRID, Record

Stack = dict[str, Tensor]
EPSILON, BETA2 = 1e-8, 0.999


@dataclass(kw_only=True)
class Replicas:
    """The runs of one net at several learning rates.

    Attributes:
        net: defines the layers; its own weights are the common start of all runs.
        recipe: the optimizer.
        lrs: learning rates, [R].
        steps: steps of a run.
    """

    net: nn.Module
    recipe: Recipe
    lrs: Tensor
    steps: int
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        count = len(self.lrs)
        self.weights = {
            name: value.detach().expand(count, *value.shape).clone().requires_grad_()
            for name, value in self.net.named_parameters()
        }
        self.buffers = {name: value.expand(count, *value.shape).clone() for name, value in self.net.named_buffers()}
        self.momenta, self.squares = ({name: torch.zeros_like(v) for name, v in self.weights.items()} for _ in "12")

    def outputs(self, images: Tensor) -> Tensor:
        """Logits of all runs, [R, B, C]."""

        def one(weights: Stack, buffers: Stack) -> Tensor:
            return functional_call(self.net, (weights, buffers), (images,))

        found: Tensor = vmap(one, randomness="error")(self.weights, self.buffers)
        return found

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step of every run; the losses before it, [R]."""
        logits = self.outputs(images)
        repeated = labels.expand(len(self.lrs), -1)
        losses = F.cross_entropy(logits.flatten(0, 1), repeated.flatten(), reduction="none").view_as(repeated).mean(1)
        gradients = torch.autograd.grad(losses.sum(), list(self.weights.values()))
        lrs = self.lrs * self.recipe.share(self.done, self.steps)
        self.done += 1
        with torch.no_grad():
            for (name, weight), gradient in zip(self.weights.items(), gradients, strict=True):
                column = lrs.view(-1, *(1 for _ in weight.shape[1:]))
                change = self._sgd if self.recipe.optimizer == "sgd" else self._adamw
                change(name, weight, gradient, column)
        return losses.detach()

    def _sgd(self, name: str, weight: Tensor, gradient: Tensor, lr: Tensor) -> None:
        velocity = (
            self.momenta[name].mul_(self.recipe.momentum).add_(gradient.add(weight, alpha=self.recipe.weight_decay))
        )
        weight.sub_(lr * velocity)

    def _adamw(self, name: str, weight: Tensor, gradient: Tensor, lr: Tensor) -> None:
        beta = self.recipe.momentum
        mean = self.momenta[name].lerp_(gradient, 1 - beta)
        square = self.squares[name].mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        weight.mul_(1 - lr * self.recipe.weight_decay)
        scale = (square / (1 - BETA2**self.done)).sqrt_().add_(EPSILON)
        weight.sub_(lr / (1 - beta**self.done) * mean / scale)

    def accuracies(self, images: Tensor, labels: Tensor) -> list[float]:
        """The share of images that each run classifies correctly, [R]."""
        self.net.eval()
        with torch.no_grad():
            parts = zip(images.split(500), labels.split(500), strict=True)
            right = [(self.outputs(x).argmax(2) == y).sum(1) for x, y in parts]
        self.net.train()
        return (torch.stack(right).sum(0) / len(labels)).tolist()


def grid_runs(
    recipe: Recipe,
    batch: Callable[[], tuple[Tensor, Tensor]],
    *,
    validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    depth: int,
    seed: int,
    steps: int,
    parts: int,
    rungs: int,
) -> list[Record]:
    """The complete runs of one depth and seed at all learning rates of the recipe."""
    begin = time.process_time()
    torch.manual_seed(seed)
    runs = Replicas(net=recipe.build(depth).train(), recipe=recipe, lrs=torch.tensor(recipe.lrs), steps=steps)
    losses, scores = list[Tensor](), list[list[float]]()
    for step in range(1, steps + 1):
        losses.append(runs.step(*batch()))
        if step % (steps // rungs) == 0:
            scores.append(runs.accuracies(*validation))
    tests = runs.accuracies(*test)
    seconds = round((time.process_time() - begin) / len(recipe.lrs), 2)
    curves = torch.stack(losses, 1)
    return [
        _record(
            curves[k], [rung[k] for rung in scores], tests[k], parts, depth=depth, lr=lr, seed=seed, seconds=seconds
        )
        for k, lr in enumerate(recipe.lrs)
    ]


def _record(
    losses: Tensor, scores: list[float], test: float, parts: int, *, depth: int, lr: float, seed: int, seconds: float
) -> Record:
    """The record of one run, which ends where its loss is not finite."""
    steps = len(losses)
    made = int(losses.isfinite().cumprod(0).sum())
    means = [round(float(part.mean()), 4) for part in losses.split(steps // parts)]
    return Record(
        kind=GRID, depth=depth, lr=lr, seed=seed, steps=steps, losses=tuple(means[: made * parts // steps]),
        scores=tuple(round(score, 4) for score in scores[: made * len(scores) // steps]),
        test=round(test, 4) if made == steps else None, seconds=seconds,
    )  # fmt: skip
