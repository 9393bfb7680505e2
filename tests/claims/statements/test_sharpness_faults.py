"""Inject a fault and require that the estimate of each claim on the sharpness leaves the guarded region.

Four weight draws are enough, because these faults change the estimates by far more than their spread. The claim without
a law that does not hold (GELU) is not in the list.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ammup.claims import draws
from ammup.claims.claim import claim_named
from ammup.claims.statements import CLAIMS
from ammup.measurement import eigenvalue
from ammup.measurement import sharpness as measurement
from ammup.measurement.eigenvalue import Eigenpair
from ammup.measurement.loss_curvature import Outputs
from ammup.models import initialization, nets
from ammup.theory import wide_limit, wide_net

Patch = Callable[[pytest.MonkeyPatch], None]


def variance(change: Callable[[Any, int], float]) -> Patch:
    """Multiply the variance of each weight layer by change(layer, n_blocks)."""
    rule = initialization._rule

    def changed(layer: Any, fan_in: int, n_blocks: int, **settings: Any) -> tuple[str, float]:
        name, value = rule(layer, fan_in, n_blocks, **settings)
        return name, value * change(layer, n_blocks)

    return lambda patch: patch.setattr(initialization, "_rule", changed)


def summed_loss(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outputs, "n_terms", property(lambda self: 1))


def no_batch_norm(patch: pytest.MonkeyPatch) -> None:
    original = nets.ResidualBlock.__init__
    patch.setattr(
        nets.ResidualBlock, "__init__", lambda self, *a, **k: original(self, *a, **{**k, "norms": [nn.Identity()] * 2})
    )


def diagonal_softmax_hessian(patch: pytest.MonkeyPatch) -> None:
    """Use diag(p) / n² as the second derivative of cross-entropy."""

    def changed(self: Outputs, targets: Any) -> Callable[[list[torch.Tensor]], list[torch.Tensor]]:
        p = self.tensors[0].detach().softmax(1)
        return lambda u: [p * u[0] / self.n_terms**2]

    patch.setattr(Outputs, "hessian_product", changed)


def own_weights_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The tangent kernel of the limit without the weights of the layers behind the stem."""
    after = wide_limit._WideLimit._after

    def changed(self: Any, layer: Any, node: Any) -> Any:
        made = after(self, layer, node)
        return wide_limit.Node(made.activation, made.covariance, made.tangent - made.own, made.own)

    patch.setattr(wide_limit._WideLimit, "_after", changed)


def one_layer_scaled(patch: pytest.MonkeyPatch) -> None:
    """The limit of nets in which only the last layer of each branch is scaled, in place of all."""
    blocks = wide_net._residual_blocks

    def changed(architecture: Any) -> Any:
        scaled = blocks(architecture)[0]
        gain = wide_net._gain(architecture) / scaled[0].fan_in
        first = wide_net.WideLayer(fan_in=scaled[0].fan_in, fan_out=scaled[0].fan_out, variance=gain)
        return ((first, *scaled[1:]),) * architecture.depth

    patch.setattr(wide_net, "_residual_blocks", changed)


def no_iteration(patch: pytest.MonkeyPatch) -> None:
    """The Rayleigh quotient of the first product, in place of the eigenvalue."""

    def changed(product: eigenvalue.Product, start: np.ndarray, **_: Any) -> Eigenpair:
        v = product(start)
        v = v / np.linalg.norm(v)
        return Eigenpair(value=float(v @ product(v)), vector=v, residual=0.0)

    patch.setattr(measurement, "largest_eigenpair", changed)


FAULTS: dict[str, tuple[str, Patch]] = {
    "growth-plain": ("gain 1 for 2", variance(lambda layer, n: 0.5)),
    "growth-plain-limit": ("weights forgotten in the limit", own_weights_forgotten),
    "law-plain": ("loss summed instead of averaged", summed_loss),
    "growth-residual": (
        "residual scaling missing",
        variance(lambda layer, n: n if layer.role in ("branch", "last") else 1.0),
    ),
    "growth-residual-limit": ("one layer scaled instead of all", one_layer_scaled),
    "growth-residual-last-limit": ("weights forgotten in the limit", own_weights_forgotten),
    "law-cnn": ("wrong second derivative of the loss", diagonal_softmax_hessian),
    "law-residual-last": ("wrong second derivative of the loss", diagonal_softmax_hessian),
    "slope-cnn-relu": ("weights forgotten in the limit", own_weights_forgotten),
    "slope-residual-last": ("weights forgotten in the limit", own_weights_forgotten),
    "slope-batch-norm": ("batch norm missing", no_batch_norm),
    "tolerance": ("no iteration", no_iteration),
    "linear-net": ("no iteration", no_iteration),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_injected_fault_moves_the_estimate_out_of_the_guarded_region(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claim_named(CLAIMS, f"sharpness.{name}")
    guarded = claim.guarded  # before the fault, which may be one of the theory
    _, patch = FAULTS[name]
    with monkeypatch.context() as context:
        patch(context)
        draws.clear_cache()
        estimate = claim.statistic(claim.rows(range(4)))
    assert not guarded.low <= estimate <= guarded.high, estimate
