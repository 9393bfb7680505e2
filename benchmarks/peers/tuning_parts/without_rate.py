"""Optimizers that need no learning rate, each as its authors recommend it.

* Prodigy (arXiv 2306.06101) and D-Adaptation (arXiv 2301.07733): a learning rate of 1 with the schedule of the recipe.
* DoG (arXiv 2302.12022): no schedule; the polynomial-decay average of the weights is evaluated.
* schedule-free (arXiv 2405.15682): its default learning rate, the warm-up of the recipe; the average is evaluated, with
  the statistics of batch norm computed again over 50 minibatches.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .recipes import Recipe

AGAIN = 50  # minibatches for the statistics of batch norm
Batch = Callable[[], tuple[Tensor, Tensor]]


@dataclass(kw_only=True)
class Training:
    """A net with its optimizer.

    Attributes:
        net: the net that is trained.
        optimizer: an optimizer of torch or of a package.
        scheduled: whether the schedule of the recipe changes its learning rate.
    """

    net: nn.Module
    optimizer: Any
    scheduled: bool = True

    def __post_init__(self) -> None:
        """Prepare what the optimizer needs beyond itself."""

    def after_step(self) -> None:
        """What is due after each step."""

    @contextmanager
    def evaluated(self, batch: Batch) -> Iterator[nn.Module]:
        """The net to evaluate."""
        yield self.net


class Averaged(Training):
    """DoG with its average."""

    def __post_init__(self) -> None:
        from dog import PolynomialDecayAverager

        self.average = PolynomialDecayAverager(self.net)

    def after_step(self) -> None:
        """Update the average."""
        self.average.step()

    @contextmanager
    def evaluated(self, batch: Batch) -> Iterator[nn.Module]:
        """The average."""
        yield self.average.averaged_model


class ScheduleFree(Training):
    """Schedule-free optimizers evaluate other weights than those that they train."""

    def __post_init__(self) -> None:
        self.optimizer.train()

    @contextmanager
    def evaluated(self, batch: Batch) -> Iterator[nn.Module]:
        """The net with its averaged weights, and statistics of batch norm that fit them."""
        self.optimizer.eval()
        if any(isinstance(module, nn.BatchNorm2d) for module in self.net.modules()):
            with torch.no_grad():
                for _ in range(AGAIN):
                    self.net(batch()[0])
        yield self.net
        self.optimizer.train()


def prodigy(recipe: Recipe, net: nn.Module, steps: int) -> Training:
    """Prodigy, with the weight decay of the recipe."""
    from prodigyopt import Prodigy

    optimizer = Prodigy(
        net.parameters(), lr=1.0, weight_decay=recipe.weight_decay, safeguard_warmup=recipe.warm_up > 0,
        use_bias_correction=True,
    )  # fmt: skip
    return Training(net=net, optimizer=optimizer)


def d_adaptation(recipe: Recipe, net: nn.Module, steps: int) -> Training:
    """D-Adaptation of the optimizer of the recipe."""
    from dadaptation import DAdaptAdam, DAdaptSGD

    decay = recipe.weight_decay
    optimizer = (
        DAdaptSGD(net.parameters(), momentum=recipe.momentum, weight_decay=decay)
        if recipe.optimizer == "sgd"
        else DAdaptAdam(net.parameters(), weight_decay=decay, decouple=True)
    )
    return Training(net=net, optimizer=optimizer)


def dog(recipe: Recipe, net: nn.Module, steps: int) -> Training:
    """DoG, without weight decay, as its authors train."""
    from dog import DoG

    return Averaged(net=net, optimizer=DoG(net.parameters()), scheduled=False)


def schedule_free(recipe: Recipe, net: nn.Module, steps: int) -> Training:
    """The schedule-free form of the optimizer of the recipe, at its default learning rate."""
    from schedulefree import AdamWScheduleFree, SGDScheduleFree

    kind = SGDScheduleFree if recipe.optimizer == "sgd" else AdamWScheduleFree
    warm_up = round((recipe.warm_up or 0.05) * steps)
    optimizer = kind(net.parameters(), weight_decay=recipe.weight_decay, warmup_steps=warm_up)
    return ScheduleFree(net=net, optimizer=optimizer, scheduled=False)


WITHOUT_RATE: dict[str, Callable[[Recipe, nn.Module, int], Training]] = {
    "Prodigy": prodigy, "D-Adaptation": d_adaptation, "DoG": dog, "schedule-free": schedule_free,
}  # fmt: skip
# Complete trainings that a method which tunes the rate spends, together with the final one, at about 10 trials.
EQUAL = 11
LONGER = f", {EQUAL} times as long"
# The kind of a run: (optimizer, length in complete trainings).
WITHOUT_RATE_RUNS = {
    f"{name}{label}": (name, trainings) for label, trainings in (("", 1), (LONGER, EQUAL)) for name in WITHOUT_RATE
}
