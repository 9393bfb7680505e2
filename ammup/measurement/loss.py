"""Losses and their derivatives with respect to the outputs (residuals), split into the paper's A and B terms (Lemma 2).

Axes: R residual row, B batch, M output unit (class or channel), P position of an output field.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ammup.errors import InputError, check_known
from ammup.format import brief_fields
from ammup.theory.loss_gradient import LOSSES, PARTS

Loss = str | Callable[[Tensor, Tensor], Tensor]
Targets = Tensor | NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Derivatives of the loss with respect to the outputs; S is the sum over ``fixed`` plus the mean over ``drawn``."""

    fixed: Float[Tensor, "R0 B *M"]
    drawn: Float[Tensor, "R1 B *M"]

    __repr__ = brief_fields


def resolved_loss(loss: Loss | None, targets: Any) -> Loss:
    """The loss; without one, "mse" for drawn labels and for targets that are floats.

    Raises:
        InputError: the targets are class indices, for which both losses are common.
    """
    if loss is not None:
        return loss
    if isinstance(targets, Tensor) and not targets.is_floating_point():
        raise InputError(
            f"targets are class indices ({targets.dtype}) and loss= is missing",
            python="pass loss='cross_entropy', or loss='mse' for the mean squared error to one-hot targets",
        )
    return "mse"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A loss and the part of its gradient that is measured.

    Attributes:
        loss: "mse" (the paper's 1/(2 B M) Σ (z - y)², half of torch's), "cross_entropy" (mean over samples and
            positions), or a callable (outputs, targets) -> scalar.
        part: the terms of the residual: "total" for all; "label" for only the labels (the paper's B-term); "output" for
            only the network's outputs (the A-term), z for mse and softmax(z) for cross-entropy.
        label_draws: number of label draws if no targets are given; N(0, 1) for mse, uniform classes for cross-entropy.

    Raises:
        InputError: the loss or part is unknown, a callable loss is combined with another part than "total", or
            ``label_draws`` is below 1.
    """

    loss: Loss
    part: str
    label_draws: int

    def __post_init__(self) -> None:
        if not callable(self.loss) and self.loss not in LOSSES:
            raise InputError(f"unknown loss={self.loss!r}; expected one of: {', '.join(LOSSES)}, or a callable")
        check_known("part", self.part, PARTS)
        if callable(self.loss) and self.part != "total":
            raise InputError(f"part={self.part!r} is not defined for a callable loss; use part='total'")
        if self.label_draws < 1:
            raise InputError(f"label_draws={self.label_draws} must be at least 1")

    def draw_labels(self, shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
        """``label_draws`` labels for outputs of ``shape`` (B, M, *P), drawn on the CPU and moved to ``like``.

        Raises:
            InputError: the loss is a callable, for which labels cannot be drawn.
        """
        if callable(self.loss):
            raise InputError("a callable loss needs targets=; labels can be drawn only for mse and cross_entropy")
        if self.loss == "mse":
            return torch.randn(self.label_draws, *shape, generator=generator).to(like)
        classes = torch.randint(shape[1], (self.label_draws, shape[0], *shape[2:]), generator=generator)
        return classes.to(like.device)

    def check_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise InputError if the targets do not match the outputs (B, M, *P)."""
        if callable(self.loss):
            return
        if not isinstance(targets, Tensor) or targets.dtype == torch.bool:
            given = "boolean" if isinstance(targets, Tensor) else f"a {type(targets).__name__}"
            raise InputError(f"targets are {given}; give a tensor of class indices, or floats shaped like the outputs")
        index_shape = (outputs.shape[0], *outputs.shape[2:])
        if targets.is_floating_point():
            if targets.shape != outputs.shape:
                given = f"targets have shape {tuple(targets.shape)}"
                raise InputError(f"{given}; expected {tuple(outputs.shape)}, the shape of the outputs")
            if not torch.isfinite(targets).all():
                raise InputError("targets contain NaN or infinite values")
        elif targets.shape != index_shape:
            raise InputError(f"class indices have shape {tuple(targets.shape)}; expected {index_shape} for the outputs")
        elif targets.min() < 0 or targets.max() >= outputs.shape[1]:
            given = f"class indices are {int(targets.min())} to {int(targets.max())}"
            raise InputError(f"{given}; the model has outputs 0 to {outputs.shape[1] - 1}")

    def scalar(self, outputs: Any, targets: Any) -> Tensor:
        """The value of a callable loss.

        Raises:
            InputError: the loss raises an exception, or does not return a scalar.
        """
        assert callable(self.loss)
        try:
            value = self.loss(outputs, targets)
        except Exception as error:  # the user's code may raise anything
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            missing = "; targets= was not given" if targets is None else ""
            raise InputError(f"the loss failed on outputs {shape}: {type(error).__name__}: {error}{missing}") from error
        if not isinstance(value, Tensor) or value.ndim:
            got = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise InputError(f"the loss returned {got}; it must return a scalar tensor")
        return value

    def residuals(self, outputs: Tensor, targets: Tensor, *, drawn: bool, per_label: bool = False) -> Residuals:
        """Residuals of given targets, or of drawn labels with the draw as leading axis.

        With drawn labels and mse, "total" is by default the average over each label and its negative. Because S is a
        quadratic form Q of the residual, ½ Q(z - y) + ½ Q(z + y) = Q(z) + Q(y), which needs one row for z and one for
        each y. The cross term, whose mean is zero, then adds no noise. With ``per_label``, each row is the gradient of
        the loss of one label, as needed for an optimizer whose step is not linear in the gradient.
        """
        none = outputs.new_zeros((0, *outputs.shape))
        if callable(self.loss):
            gradient: Tensor = torch.func.grad(lambda z: self.scalar(z, targets))(outputs)
            return Residuals(fixed=gradient[None], drawn=none)
        y = self._as_outputs(outputs, targets, lead=1 if drawn else 0)
        n_terms = outputs.numel() if self.loss == "mse" else outputs.numel() // outputs.shape[1]
        label = (y if drawn else y[None]) / n_terms
        prediction = outputs if self.loss == "mse" else outputs.softmax(1)
        output = prediction[None] / n_terms
        if self.part == "output":
            return Residuals(fixed=output, drawn=none)
        if self.part == "total" and not drawn:
            return Residuals(fixed=output - label, drawn=none)
        if self.part == "total" and self.loss == "mse" and not per_label:
            return Residuals(fixed=output, drawn=label)
        rows = label if self.part == "label" else output - label
        return Residuals(fixed=none, drawn=rows) if drawn else Residuals(fixed=rows, drawn=none)

    @staticmethod
    def _as_outputs(outputs: Tensor, targets: Tensor, *, lead: int) -> Tensor:
        """Targets in the shape of the outputs after ``lead`` leading axes; class indices become one-hot vectors."""
        if targets.is_floating_point():
            return targets.to(outputs)
        return F.one_hot(targets.long(), outputs.shape[1]).movedim(-1, lead + 1).to(outputs)
