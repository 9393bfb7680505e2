"""Second moments of the loss gradient at the outputs against autograd of the losses themselves."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ammup import InputError
from ammup.measurement.loss import Objective
from ammup.theory.loss_gradient import LossGradient

# Of three readout positions: unequal variances, two of them strongly correlated.
COVARIANCE = np.array([[1.0, 0.9, -0.3], [0.9, 2.0, 0.2], [-0.3, 0.2, 0.5]])
CLASSES = np.array([1, 1, 3])
M = 4


def _sampled(
    loss: str, *, part: str = "total", classes: np.ndarray | None = None, covariance: np.ndarray = COVARIANCE
) -> np.ndarray:
    """Σ_o E r_o(s) r_o(t) over 50,000 draws of the outputs and, where no classes are given, of the labels."""
    draws, n = 50_000, len(covariance)
    generator = torch.Generator().manual_seed(12345)
    values, vectors = np.linalg.eigh(covariance)
    root = torch.tensor(vectors * np.sqrt(np.clip(values, 0, None)))
    noise = torch.randn(draws, n, M, generator=generator, dtype=torch.float64)
    z = torch.einsum("st,dto->dso", root, noise).requires_grad_()
    if loss == "mse":
        y = torch.randn(draws, n, M, generator=generator, dtype=torch.float64)
        if classes is not None:
            y = F.one_hot(torch.tensor(classes), M).double().expand(draws, n, M)
        value = F.mse_loss(z, y, reduction="none").sum() / (2 * n * M)
        output = z.detach() / (n * M)
    else:
        labels = torch.randint(M, (draws, n), generator=generator)
        if classes is not None:
            labels = torch.tensor(classes).expand(draws, n)
        value = F.cross_entropy(z.flatten(0, 1), labels.flatten(), reduction="sum") / n
        output = z.detach().softmax(2) / n
    (total,) = torch.autograd.grad(value, z)
    r = {"total": total, "output": output, "label": total - output}[part].numpy()
    return np.einsum("dso,dto->st", r, r) / draws


@pytest.mark.parametrize("classes", [None, CLASSES], ids=["drawn", "classes"])
@pytest.mark.parametrize("part", ["label", "output", "total"])
def test_mse_by_hand(part: str, classes: np.ndarray | None) -> None:
    """A label of variance σ² is M σ² on the diagonal, a one-hot label 1 wherever classes agree, z is M K."""
    labels = 2.5 * M * np.eye(3) if classes is None else np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])
    expected = {"label": labels, "output": M * COVARIANCE, "total": labels + M * COVARIANCE}[part]
    gradient = LossGradient(loss="mse", part=part, label_variance=2.5, classes=classes)
    np.testing.assert_allclose(gradient.second_moments(COVARIANCE, M), expected / (3 * M) ** 2, rtol=1e-12)


# 50,000 draws of M = 4 outputs: standard errors of at most 0.3 % of the largest entry. Cross-entropy adds those of the
# law's own 4096 draws of Σ p p, which has a standard deviation of about 0.15: 0.0024, beside entries of 0.48 and more.
@pytest.mark.parametrize("classes", [None, CLASSES], ids=["drawn", "classes"])
@pytest.mark.parametrize("part", ["label", "output", "total"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_agrees_with_autograd_and_another_generator(loss: str, part: str, classes: np.ndarray | None) -> None:
    ours = LossGradient(loss=loss, part=part, classes=classes).second_moments(COVARIANCE, M)
    sampled = _sampled(loss, part=part, classes=classes)
    np.testing.assert_allclose(ours, sampled, rtol=0, atol=0.015 * ours.max())


@pytest.mark.parametrize("classes", [None, CLASSES], ids=["drawn", "classes"])
def test_cross_entropy_at_large_logits_forgets_their_size(classes: np.ndarray | None) -> None:
    """A softmax that is one-hot: the residual of a sample is 0 or of square norm 2, with probability 1 - 1/M."""
    gradient = LossGradient(loss="cross_entropy", part="total", classes=classes)
    R = gradient.second_moments(1e8 * np.eye(3), M)
    np.testing.assert_allclose(np.diag(R), 2 * (1 - 1 / M) / 9, rtol=1e-3)


@pytest.mark.parametrize("outputs", [2, 4, 10])
def test_cross_entropy_at_zero_logits_is_the_papers_diagonal(outputs: int) -> None:
    """Appendix F: residual 1/M - δ, so Σ_o r_o(s) r_o(t) = δ_(yy') - 1/M, and 1 - 1/M on the diagonal."""
    classes, flat = np.array([0, 1, 0, 1, 1]), np.zeros((5, 5))
    total = LossGradient(loss="cross_entropy", part="total", classes=classes).second_moments(flat, outputs)
    agree = np.equal.outer(classes, classes)
    np.testing.assert_allclose(total, (agree - 1 / outputs) / 25, atol=1e-15)
    np.testing.assert_allclose(np.diag(total), (1 - 1 / outputs) / 25, rtol=1e-12)
    # Drawn labels are independent: what two samples have in common is the mean, which the softmax takes away.
    drawn = LossGradient(loss="cross_entropy", part="total").second_moments(flat, outputs)
    np.testing.assert_allclose(drawn, np.eye(5) * (1 - 1 / outputs) / 25, atol=1e-15)


def test_cross_entropy_labels_and_outputs_at_zero_logits() -> None:
    flat = np.zeros((2, 2))
    label, output = (LossGradient(loss="cross_entropy", part=part) for part in ("label", "output"))
    np.testing.assert_allclose(label.second_moments(flat, 5), np.array([[1, 0.2], [0.2, 1]]) / 4, rtol=1e-12)
    np.testing.assert_allclose(output.second_moments(flat, 5), np.full((2, 2), 0.2) / 4, rtol=1e-12)


def test_cross_entropy_of_one_output_is_nothing() -> None:
    R = LossGradient(loss="cross_entropy", part="total").second_moments(COVARIANCE, 1)
    np.testing.assert_allclose(R, 0, atol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("part", ["label", "output", "total"])
def test_is_what_the_measurement_divides_by(loss: str, part: str) -> None:
    """Given classes and outputs that are all zero leave nothing random: both rooms have the same residuals."""
    outputs = torch.zeros(3, M, dtype=torch.float64)
    residuals = Objective(loss=loss, part=part, label_draws=1).residuals(outputs, torch.tensor(CLASSES), drawn=False)
    r = residuals.fixed[0].numpy()
    ours = LossGradient(loss=loss, part=part, classes=CLASSES).second_moments(np.zeros((3, 3)), M)
    np.testing.assert_allclose(ours, r @ r.T, atol=1e-15)


def test_does_not_touch_a_global_generator() -> None:
    gradient = LossGradient(loss="cross_entropy", part="total")
    first = gradient.second_moments(COVARIANCE, M)
    np.testing.assert_array_equal(first, gradient.second_moments(COVARIANCE, M))


def test_classes_of_fields_are_read_in_the_order_of_the_positions() -> None:
    field = np.array([[0, 1], [1, 2]])  # two samples of two positions
    flat = LossGradient(loss="cross_entropy", classes=field.ravel())
    ours = LossGradient(loss="cross_entropy", classes=field).second_moments(np.eye(4), 3)
    np.testing.assert_array_equal(ours, flat.second_moments(np.eye(4), 3))
    assert (ours[1, 2], ours[0, 1]) == (1 / 16, 0)


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(InputError, match="unknown loss='hinge'; expected one of: mse, cross_entropy"):
        LossGradient(loss="hinge")
    with pytest.raises(InputError, match="unknown part='residual'; expected one of: total, label, output"):
        LossGradient(part="residual")
    for loss in ("mse", "cross_entropy"):
        with pytest.raises(InputError, match="3 class indices for 2 outputs; give one for each"):
            LossGradient(loss=loss, classes=CLASSES).second_moments(np.eye(2), M)
