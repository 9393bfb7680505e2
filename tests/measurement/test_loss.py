"""Residuals, compared with the gradients of torch's losses; drawn labels; and invalid targets and losses."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.measurement.loss import Objective, resolved_loss

SHAPES = ((3, 5), (2, 4, 6), (2, 3, 4, 5))
LOSSES = {"mse": lambda z, y: F.mse_loss(z, y) / 2, "cross_entropy": F.cross_entropy}


def _outputs(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _classes(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(shape[1], (shape[0], *shape[2:]), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_total_residual_is_the_gradient_of_the_loss_in_torch(loss: str, shape: tuple[int, ...]) -> None:
    z, classes = _outputs(shape).requires_grad_(), _classes(shape)
    targets = F.one_hot(classes, shape[1]).movedim(-1, 1).double()
    value = LOSSES[loss](z, targets if loss == "mse" else classes)
    (gradient,) = torch.autograd.grad(value, z)
    objective = Objective(loss=loss, part="total", label_draws=1)
    for given in (classes, targets):
        found = objective.residuals(z.detach(), given, drawn=False)
        torch.testing.assert_close(found.fixed, gradient[None])
        assert len(found.drawn) == 0
    callable_ = Objective(loss=LOSSES[loss], part="total", label_draws=1)
    found = callable_.residuals(z.detach(), targets if loss == "mse" else classes, drawn=False)
    torch.testing.assert_close(found.fixed, gradient[None])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_output_part_minus_label_part_is_the_total_residual(loss: str, shape: tuple[int, ...]) -> None:
    z, classes = _outputs(shape), _classes(shape)
    parts = {
        part: Objective(loss=loss, part=part, label_draws=1).residuals(z, classes, drawn=False).fixed
        for part in ("output", "label", "total")
    }
    torch.testing.assert_close(parts["output"] - parts["label"], parts["total"])
    scale = z.numel() if loss == "mse" else classes.numel()
    one_hot = F.one_hot(classes, shape[1]).movedim(-1, 1).double()
    torch.testing.assert_close(parts["label"], one_hot[None] / scale)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_drawn_labels_have_the_mean_squares_of_the_same_labels_as_targets(loss: str, shape: tuple[int, ...]) -> None:
    """For any quadratic form of a row, the sum over the fixed rows plus the mean over the drawn rows."""
    z, draws = _outputs(shape), 3
    form = _outputs((z.numel(), z.numel()))

    def square(rows: torch.Tensor) -> torch.Tensor:
        return (rows.flatten(1) @ form).square().sum(1)

    for part, per_label in itertools.product(("output", "label", "total"), (True, False)):
        objective = Objective(loss=loss, part=part, label_draws=draws)
        labels = objective.draw_labels(z.shape, z, torch.Generator().manual_seed(2))
        found = objective.residuals(z, labels, drawn=True, per_label=per_label)
        moment = square(found.fixed).sum() + (square(found.drawn).mean() if len(found.drawn) else 0)
        # Without `per_label`, the mean over a label and its negative, which has no cross term.
        signs = (1, -1) if loss == "mse" and not per_label else (1,)
        rows = [objective.residuals(z, sign * y, drawn=False).fixed for y in labels for sign in signs]
        torch.testing.assert_close(moment, square(torch.cat(rows)).mean())


def test_drawn_labels_are_normal_or_uniform_classes_and_depend_only_on_the_generator() -> None:
    z = torch.zeros(50, 4, 5)
    for loss in LOSSES:
        objective = Objective(loss=loss, part="total", label_draws=6)
        one, again, other = (objective.draw_labels(z.shape, z, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
        if loss == "mse":
            assert (one.shape, one.dtype) == ((6, 50, 4, 5), z.dtype)
            assert float(one.mean()) == pytest.approx(0, abs=4 / one.numel() ** 0.5)
            assert float(one.var()) == pytest.approx(1, abs=4 * (2 / one.numel()) ** 0.5)
        else:
            assert (one.shape, one.dtype) == ((6, 50, 5), torch.int64)
            counts = np.bincount(one.flatten(), minlength=4)
            np.testing.assert_allclose(counts / one.numel(), 0.25, atol=4 * (0.25 * 0.75 / one.numel()) ** 0.5)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda z, y: 1 / 0, "ZeroDivisionError"),
        (lambda z, y: (z - y).square(), r"tensor \(2, 2\)"),
        (lambda z, y: 1.0, "float"),
    ],
)
def test_a_loss_that_fails_or_does_not_return_a_scalar_is_rejected(loss, message: str) -> None:
    objective = Objective(loss=loss, part="total", label_draws=1)
    with pytest.raises(InputError, match=message):
        objective.residuals(torch.ones(2, 2), torch.ones(2, 2), drawn=False)


def test_cross_entropy_residual_has_the_norm_of_appendix_f() -> None:
    """‖p - y‖² = 1 - 1/C if all logits are zero."""
    objective = Objective(loss="cross_entropy", part="total", label_draws=1)
    residual = objective.residuals(torch.zeros(1, 7), torch.tensor([2]), drawn=False).fixed[0]
    assert float(residual.square().sum()) == pytest.approx(1 - 1 / 7)


class _UserNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.second(self.first(x).relu()).relu())


def _bad(**changes):
    good = {"model": _UserNet(), "inputs": torch.ones(2, 4), "targets": None}
    return {**good, **changes}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (_bad(targets=torch.ones(3, 2)), r"\(3, 2\).*\(2, 2\)"),
        (_bad(targets=torch.full((2, 2), torch.inf)), "targets.*NaN"),
        (_bad(targets=torch.tensor([0, 2]), loss="mse"), "0 to 2.* 0 to 1"),
        (_bad(targets=torch.tensor([0, 1, 1]), loss="mse"), r"\(3,\).*\(2,\)"),
        (_bad(loss="hinge"), "loss='hinge'.*mse, cross_entropy"),
        (_bad(part="A"), "part='A'.*total, label, output"),
        (_bad(loss=F.mse_loss, part="label"), "part='label'.*part='total'"),
        (_bad(loss=F.mse_loss), "targets="),
        (_bad(label_draws=0), "label_draws=0"),
    ],
)
def test_invalid_targets_and_losses_are_rejected(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.measure_updates(**arguments)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_targets_that_are_not_floats_need_a_loss(dtype: torch.dtype) -> None:
    targets = torch.ones(2, dtype=dtype)
    with pytest.raises(InputError, match=r"loss= is missing; pass loss='cross_entropy', or loss='mse' for the mean"):
        resolved_loss(None, targets)
    assert resolved_loss("cross_entropy", targets) == "cross_entropy"
    assert resolved_loss(F.cross_entropy, targets) is F.cross_entropy


@pytest.mark.parametrize("targets", [None, torch.ones(2, 2), torch.ones(2, 2, dtype=torch.float64)])
def test_the_loss_of_drawn_labels_and_of_floats_is_mse(targets: torch.Tensor | None) -> None:
    torch.manual_seed(0)
    model, inputs = _UserNet(), torch.ones(2, 4)
    assert resolved_loss(None, targets) == "mse"
    assert resolved_loss("cross_entropy", targets) == "cross_entropy"
    found, expected = (ammup.measure_updates(model, inputs, targets, loss=loss).S for loss in (None, "mse"))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_class_indices_of_every_integer_dtype_are_the_same(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, inputs, targets = _UserNet(), torch.ones(2, 4), torch.tensor([0, 1])
    for loss in LOSSES:
        found, expected = (ammup.measure_updates(model, inputs, y, loss=loss).S for y in (targets.to(dtype), targets))
        np.testing.assert_array_equal(found, expected)
