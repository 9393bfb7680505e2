"""Inject a fault into the library and require that a named claim or its baseline detects it.

"claim": the verdict changes, or the estimate leaves the guarded region. This does not depend on the seeds.
"baseline": only the comparison with the stored estimate from the same seeds detects the fault.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

import ammup
from ammup.claims import draws
from ammup.claims.claim import claim_named
from ammup.claims.ledger import measure
from ammup.claims.statements import CLAIMS
from ammup.measurement import jvp, loss, observation, step
from ammup.measurement.moments import UpdateMoments
from ammup.models import depth, families, initialization, nets
from ammup.theory import activations

pytestmark = pytest.mark.statistical
Patch = Callable[[pytest.MonkeyPatch], None]


def variance(change: Callable[[Any, int, int], float]) -> Patch:
    """Multiply the variance of each weight layer by change(layer, fan_in, n_blocks)."""
    rule = initialization._rule

    def changed(layer: Any, fan_in: int, n_blocks: int, **settings: Any) -> tuple[str, float]:
        name, value = rule(layer, fan_in, n_blocks, **settings)
        return name, value * change(layer, fan_in, n_blocks)

    return lambda patch: patch.setattr(initialization, "_rule", changed)


def branch(factor: Callable[[int], float]) -> Patch:
    return variance(lambda layer, _fan_in, n: factor(n) if layer.role in ("branch", "last") else 1.0)


def fan_out(patch: pytest.MonkeyPatch) -> None:
    """Draw each weight with a variance that uses the fan-out."""
    draw = initialization._draw_

    def changed(model: nn.Module, rows: list[dict[str, Any]], generator: torch.Generator) -> None:
        shapes = {name: p.shape for name, p in model.named_parameters()}
        for row in rows:
            shape = shapes[row["parameter"]]
            row["variance"] *= shape[1] / shape[0]
        draw(model, rows, generator)

    patch.setattr(initialization, "_draw_", changed)


def unit_gain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(initialization, "variance_gain", lambda moments, gain: 1.0)


def no_kernel_in_fan_in(patch: pytest.MonkeyPatch) -> None:
    draw = initialization._draw_

    def changed(model: nn.Module, rows: list[dict[str, Any]], generator: torch.Generator) -> None:
        shapes = {name: p.shape for name, p in model.named_parameters()}
        for row in rows:
            row["variance"] *= shapes[row["parameter"]][2:].numel()
        draw(model, rows, generator)

    patch.setattr(initialization, "_draw_", changed)


def zero_padding(patch: pytest.MonkeyPatch) -> None:
    conv = families.conv
    patch.setattr(families, "conv", lambda *a, **k: conv(*a, **{**k, "padding": "zero"}))


def one_layer_more(patch: pytest.MonkeyPatch) -> None:
    described = families.Architecture
    patch.setattr(families, "Architecture", lambda **fields: described(**{**fields, "depth": fields["depth"] + 1}))


def other_activation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nets, "activation_module", lambda name: nn.GELU())


class Scaled(nn.Module):
    """z/√2."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z * 0.5**0.5


Scaled.__module__ = nets.__name__  # so that it counts as one of ammup's own modules, whose draws are stacked


def scaled_skip(patch: pytest.MonkeyPatch) -> None:
    original_init = nets.ResidualBlock.__init__

    def changed(self: nets.ResidualBlock, *a: Any, **k: Any) -> None:
        original_init(self, *a, **k)
        self.skip = Scaled()

    patch.setattr(nets.ResidualBlock, "__init__", changed)


def batch_norm(patch: pytest.MonkeyPatch) -> None:
    original_init = nets.ResidualBlock.__init__

    def changed(self: nets.ResidualBlock, layers: list[nn.Module], **k: Any) -> None:
        original_init(self, layers, **{**k, "norms": [nn.BatchNorm2d(layer.in_channels) for layer in layers]})

    patch.setattr(nets.ResidualBlock, "__init__", changed)


def detached(patch: pytest.MonkeyPatch) -> None:
    """Detach the input of the last layer of a convolutional net, so that earlier layers have no gradient."""

    def changed(self: nets.CNN, x: torch.Tensor) -> torch.Tensor:
        z = x.flatten(2) if self.dims == 1 else x
        for i, layer in enumerate(self.layers):
            z = layer(self.activation(z).detach() if i == len(self.layers) - 1 else self.activation(z) if i else z)
        return self.readout(self.activation(z))

    patch.setattr(nets.CNN, "forward", changed)


def summed_loss(patch: pytest.MonkeyPatch) -> None:
    residuals = loss.Objective.residuals

    def changed(self: loss.Objective, outputs: torch.Tensor, *a: Any, **k: Any) -> loss.Residuals:
        means = residuals(self, outputs, *a, **k)
        return loss.Residuals(fixed=means.fixed * outputs.numel(), drawn=means.drawn * outputs.numel())

    patch.setattr(loss.Objective, "residuals", changed)


def wrong_units(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(observation, "units_of", lambda model, structure: (*depth.units_of(model, structure)[1:], "readout"))


def biases(patch: pytest.MonkeyPatch) -> None:
    def changed(self: nets.MLP, x: torch.Tensor) -> torch.Tensor:
        z = x.flatten(1)
        for i, layer in enumerate(self.layers):
            z = layer(self.activation(z + 0.5) if i else z)
        return self.readout(self.activation(z))

    patch.setattr(nets.MLP, "forward", changed)


def half_precision(patch: pytest.MonkeyPatch) -> None:
    built = draws.build_model
    patch.setattr(draws, "build_model", lambda *a, **k: built(*a, **k).bfloat16())


def one_label(patch: pytest.MonkeyPatch) -> None:
    drawn = loss.Objective.draw_labels

    def changed(
        self: loss.Objective, shape: torch.Size, like: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        labels = drawn(self, shape, like, generator)
        return labels[..., :1].expand_as(labels).contiguous()

    patch.setattr(loss.Objective, "draw_labels", changed)


def he_readout(patch: pytest.MonkeyPatch) -> None:
    rule = initialization._rule
    patch.setattr(initialization, "_rule", lambda *a, **k: rule(*a, **{**k, "readout": "he"}))


def forgotten_step(patch: pytest.MonkeyPatch) -> None:
    """Omit the first layer from the step, but not from the gradient."""
    direction = step.Step.direction

    def changed(self: step.Step, gradient: step.Weights) -> step.Weights:
        steps = direction(self, gradient)
        first = next(iter(steps))
        return {**steps, first: torch.zeros_like(steps[first])}

    patch.setattr(step.Step, "direction", changed)


def squared_mean(patch: pytest.MonkeyPatch) -> None:
    """Return the square root of S_l, as if the norm of the step were not squared."""
    moments = jvp.combined_moments

    def changed(*arguments: Any) -> UpdateMoments:
        combined = moments(*arguments)
        return dataclasses.replace(combined, S=combined.S**0.5)

    patch.setattr(jvp, "combined_moments", changed)


def wrong_gate_law(patch: pytest.MonkeyPatch) -> None:
    """Treat the ReLU gates of different positions and blocks as independent in the theory."""

    def changed(self: activations.Gaussians, other: activations.Gaussians, covariance: Any) -> Any:
        return 0 * covariance

    patch.setattr(activations.Gaussians, "square_slope_covariance", changed)


FAULTS: dict[str, tuple[Patch, str, str]] = {
    "residual scaling missing": (branch(lambda n: n), "law.residual-m1", "claim"),
    "residual scaling applied twice": (branch(lambda n: 1 / n), "law.residual-m1", "claim"),
    "1/sqrt(K) in place of 1/K": (branch(lambda n: n**0.5), "law.residual-m1", "claim"),
    "fan-out for fan-in": (fan_out, "law.plain-batch", "claim"),
    "gain 1 for 2": (unit_gain, "lemma-1.invariance-dense", "claim"),
    "kernel cardinality left out of the fan-in": (no_kernel_in_fan_in, "lemma-1.invariance-1d-5", "claim"),
    "circular padding silently zero": (zero_padding, "lemma-1.invariance-1d-5", "claim"),
    "depth off by one": (one_layer_more, "law.plain-dense", "claim"),
    "activation swapped": (other_activation, "lemma-1.invariance-dense", "claim"),
    "skip scaled by 1/sqrt(2)": (scaled_skip, "law.residual-m1", "claim"),
    "a batch norm slipped in": (batch_norm, "theorem-3.exponent-conv", "claim"),
    "one layer's gradient detached": (detached, "law.field-2d-zero", "claim"),
    "loss summed instead of averaged": (summed_loss, "law.field-2d-zero", "claim"),
    "S averaged over units of the wrong layer": (wrong_units, "law.field-2d-zero", "claim"),
    "nonzero biases": (biases, "lemma-1.invariance-dense", "claim"),
    "half precision used silently": (half_precision, "law.field-2d-zero", "baseline"),
    "one label for all positions": (one_label, "law.field-2d-zero", "claim"),
    "He readout for mean-field": (he_readout, "appendix-f.gradient-norm", "claim"),
    "a layer left out of the step": (forgotten_step, "law.field-2d-zero", "claim"),
    "S not squared": (squared_mean, "law.field-2d-zero", "claim"),
    "gates taken for independent in the law": (wrong_gate_law, "law.residual-m1", "baseline"),
}


@contextmanager
def injected(patch: Patch) -> Iterator[None]:
    """Apply a fault, with empty caches of measurements and traces before and after."""
    depth._TRACED.clear()
    with pytest.MonkeyPatch.context() as monkeypatch, draws.isolated_cache():
        patch(monkeypatch)
        try:
            yield
        finally:
            depth._TRACED.clear()


@pytest.mark.parametrize("name", FAULTS)
def test_an_injected_fault_is_detected(name: str) -> None:
    patch, claim, by = FAULTS[name]
    with injected(patch):
        (comparison,) = measure([claim_named(CLAIMS, claim)])
    assert comparison.problems, "the comparison with the baseline passed"
    if by == "claim":
        assert comparison.verdict_changed or not comparison.new.agrees_with_law, comparison.new.estimate


def test_no_fault_is_detected_without_an_injected_fault() -> None:
    """The same code without a fault, to show that the alarms above come from the faults and not from the injection."""
    for claim in ("law.field-2d-zero", "lemma-1.invariance-dense", "appendix-f.gradient-norm"):
        with injected(lambda patch: patch.setattr(ammup, "_unused", None, raising=False)):
            (comparison,) = measure([claim_named(CLAIMS, claim)])
        assert not comparison.problems, comparison.problems
