"""Sums over all elements, compared with NumPy in float64."""

import numpy as np
import pytest
import torch

import ammup
from ammup.measurement.norms import inner_product, squared_norm
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.updates import measure_draws

SHAPES = [(0,), (7,), (3, 5), (2**20,), (40, 2**15), (2**15, 40), (8, 64, 600, 5)]


def _pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return a, a + b


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_accurate_to_float64(shape: tuple[int, ...]) -> None:
    a, b = _pair(shape)
    exact = float((a.double().numpy() ** 2).sum()), float((a.double().numpy() * b.double().numpy()).sum())
    # torch's norm of 10^6 elements in float32 has a relative error of 1e-5.
    np.testing.assert_allclose([float(squared_norm(a)), float(inner_product(a, b))], exact, rtol=3e-7)
    assert squared_norm(a).dtype == inner_product(a, b).dtype == torch.float64
    assert float(inner_product(a, a)) == float(squared_norm(a))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_outside_of_the_range_of_float32_are_summed(scale: float) -> None:
    a = _pair((40, 2**15))[0] * scale
    np.testing.assert_allclose(float(squared_norm(a)), float((a.double().numpy() ** 2).sum()), rtol=1e-6)


def test_complex_tensors_and_other_memory_formats() -> None:
    a = _pair((40, 2**14, 2))[0]
    assert float(squared_norm(torch.view_as_complex(a))) == pytest.approx(float(squared_norm(a)), rel=1e-6)
    images, others = (x.reshape(8, 20, 41, 41) for x in _pair((8, 20, 1681)))
    transposed = images.contiguous(memory_format=torch.channels_last)
    assert float(squared_norm(transposed)) == pytest.approx(float(squared_norm(images)), rel=1e-6)
    assert float(inner_product(transposed, others)) == pytest.approx(float(inner_product(images, others)), rel=1e-6)


def test_stacked_tensors_have_a_sum_each() -> None:
    a = _pair((3, 40, 2**10))[0]
    found = torch.func.vmap(squared_norm)(a)
    np.testing.assert_allclose(found.numpy(), (a.double().numpy() ** 2).sum((1, 2)), rtol=1e-12)


def test_the_norms_of_stacked_tangents_are_those_of_each() -> None:
    """Inside of vmap the values of a tangent cannot be read, also if jvp has wrapped it, as that of a GELU."""
    x, dx = _pair((3, 8, 900), torch.float64)

    def tangent_norm(one: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        def norm(z: torch.Tensor) -> torch.Tensor:
            dual = torch.nn.functional.gelu(z)
            return squared_norm(torch.autograd.forward_ad.unpack_dual(dual).tangent) + 0 * z.sum()

        return torch.func.jvp(norm, (one,), (direction,))[0]

    norms = torch.func.vmap(tangent_norm)(x, dx)
    for one, direction, measured in zip(x, dx, norms, strict=True):
        tangent = torch.func.jvp(torch.nn.functional.gelu, (one,), (direction,))[1]
        assert float(measured) == pytest.approx(float(tangent.square().sum()), rel=1e-12)


def test_stacked_weight_draws_of_a_wide_gelu_cnn_are_measured() -> None:
    inputs = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    nets = [ammup.cnn(2, width=32, activation="gelu", seed=seed) for seed in range(2)]
    spec = MeasurementSpec(inputs=inputs, part="label")
    for net, stacked in zip(nets, measure_draws(nets, spec, streams=[0, 1]), strict=True):
        (alone,) = measure_draws([net], spec, streams=[nets.index(net)])
        np.testing.assert_allclose(stacked.S_bar, alone.S_bar, rtol=1e-5)
