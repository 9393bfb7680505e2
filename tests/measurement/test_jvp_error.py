"""Error estimates of the method "jvp"."""

import pytest
import torch
import torch.autograd.forward_ad as fwad

from ammup.measurement.forward_mode import load_forward_rules
from ammup.measurement.jvp_error import ROUNDING, PassComparison, perturbed_inputs, relative_difference


def _comparison(row: torch.Tensor, products: list[torch.Tensor]) -> PassComparison:
    return PassComparison(row, [p.double() for p in products], {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2)})


def test_passes_agree_if_the_gradient_is_that_of_the_residual() -> None:
    load_forward_rules()
    jacobian = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    row, d = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 1.0])
    gradient = jacobian.T @ row
    with fwad.dual_level():
        outputs = fwad.make_dual(torch.zeros(2), jacobian @ d)
        assert float(_comparison(row, [gradient @ d]).error(outputs)) == 0
        wrong = [0.5 * gradient @ d, 0.75 * gradient @ d]
        assert float(_comparison(row, wrong).error(outputs)) == pytest.approx(0.2)
        assert float(_comparison(row, wrong).error(torch.zeros(2))) == 0


def test_the_error_is_proportional_to_the_largest_change_of_a_unit() -> None:
    comparison = _comparison(torch.zeros(2), [torch.zeros(())])
    comparison.observe("b", torch.ones(2))  # its relative change is not defined
    assert float(comparison.error(torch.zeros(2))) == 0
    comparison.observe("a", torch.tensor([3.0, 4.0 + 1e-4]))
    comparison.observe("a", torch.tensor([3.0, 4.0]))
    assert float(comparison.error(torch.zeros(2))) == pytest.approx(1e-4 / 5 * ROUNDING, rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_floating_point_inputs_are_perturbed(dtype: torch.dtype) -> None:
    x, tokens = torch.full((1000,), 3.0, dtype=dtype), torch.tensor([1, 2])
    changed, same, name = perturbed_inputs((x, tokens, "name"))
    assert float((changed / x - 1).std()) == pytest.approx(torch.finfo(dtype).eps, rel=0.2)
    assert same is tokens
    assert name == "name"
    assert torch.equal(perturbed_inputs(x), changed)


def test_relative_difference_of_vectors() -> None:
    assert float(relative_difference(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 4.0]))) == 0.75
    assert float(relative_difference(torch.ones(2), torch.zeros(2))) == 0
