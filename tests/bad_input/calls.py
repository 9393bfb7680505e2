"""Bad input to the public functions, and how the message of its InputError begins.

Run as a program it makes every call and prints what came of it: without the type checks that tests have, as users do.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ammup
from ammup.stats.segment import Segment

IMAGES, LABELS = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])
BATCH = {"inputs": IMAGES, "targets": LABELS, "loss": "cross_entropy"}
DATA = ammup.load_data("synthetic", image_size=8, train=64, validation=32)
UNVALIDATED = ammup.load_data("synthetic", image_size=8, train=64, validation=0)
RUNS = pd.DataFrame(
    [
        {"depth": depth, "lr": lr, "seed": 0, "val_accuracy": 0.3 - abs(math.log10(lr) + 1 + 0.1 * depth) / 10,
         "val_loss": 2.0, "diverged": False}
        for depth in (2, 4) for lr in np.geomspace(1e-3, 1, 9)
    ]
)  # fmt: skip
nan, inf = math.nan, math.inf


def _net() -> nn.Module:
    return ammup.cnn(2, width=4)


def _factory(depth: int, seed: int) -> nn.Module:
    return ammup.cnn(depth, width=4, seed=seed)


def _raising(depth: int, seed: int) -> nn.Module:
    raise RuntimeError("boom")


class _Readout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Linear(192, 10)


class _Raising(_Readout):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("inside forward")


class _Scalar(_Readout):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.w(x.flatten(1)).sum()
        return out


class _NotANumber(_Readout):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.w(x.flatten(1)) * nan
        return out


class _Weightless(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


# (call, how the message begins)
CASES: list[tuple[Callable[[], object], str]] = [
    # Families.
    (lambda: ammup.mlp(0), "depth=0: expected an integer of at least 1"),
    (lambda: ammup.mlp(-1), "depth=-1: expected an integer of at least 1"),
    (lambda: ammup.mlp(2.5), "depth=2.5: expected an integer of at least 1"),
    (lambda: ammup.mlp("4"), "depth='4': expected an integer of at least 1"),
    (lambda: ammup.mlp(True), "depth=True: expected an integer of at least 1"),
    (lambda: ammup.mlp(None), "depth=None: expected an integer of at least 1"),
    (lambda: ammup.mlp(2, width=0), "width=0: expected an integer of at least 1"),
    (lambda: ammup.mlp(2, width=-4), "width=-4: expected an integer of at least 1"),
    (lambda: ammup.mlp(3, width=[4, 4]), "width=[4, 4] gives 2 widths for depth=3; give one for each"),
    (lambda: ammup.mlp(2, width=4.5), "width=4.5: expected an integer, or one for each layer"),
    (lambda: ammup.mlp(2, in_features=0), "in_features=0: expected an integer of at least 1"),
    (lambda: ammup.mlp(2, out_features=0), "out_features=0: expected an integer of at least 1"),
    (lambda: ammup.mlp(2, activation="tanhh"), "unknown activation='tanhh'; expected one of: relu, gelu, linear"),
    (lambda: ammup.mlp(2, gain="x"), "unknown gain='x'; expected one of: forward, derivative, paper"),
    (lambda: ammup.mlp(2, readout="zero"), "unknown readout='zero'; expected one of: mean-field, he"),
    (lambda: ammup.mlp(2, seed="a"), "seed='a': expected an integer, or None"),
    (lambda: ammup.mlp(2, seed=1.5), "seed=1.5: expected an integer, or None"),
    (lambda: ammup.cnn(2, dims=3), "dims=3 is not a convolution; allowed: 1, 2 (use mlp for dense"),
    (lambda: ammup.cnn(2, kernel=0), "kernel=0 must be a positive int, a tuple of 2 positive ints, or"),
    (lambda: ammup.cnn(2, kernel=2, padding="zero"), "kernel=2 has no centre under padding='zero'; use odd sides or"),
    (lambda: ammup.cnn(2, kernel=(3, 3, 3)), "kernel=(3, 3, 3) must be a positive int, a tuple of 2 positive"),
    (lambda: ammup.cnn(2, kernel=[(0, 0), (0, 0)]), "kernel=[(0, 0), (0, 0)] must list distinct offsets of 2 integers"),
    (lambda: ammup.cnn(2, kernel=[]), "kernel=[] must list distinct offsets of 2 integers each"),
    (lambda: ammup.cnn(2, kernel=[(0,)]), "kernel=[(0,)] must list distinct offsets of 2 integers"),
    (lambda: ammup.cnn(2, padding="reflect"), "unknown padding='reflect'; expected one of: circular, zero"),
    (lambda: ammup.cnn(2, head="x"), "unknown head='x'; expected one of: pool, field"),
    (lambda: ammup.cnn(2, width=6, groups=4), "groups=4 must divide the channels, 6 and 6"),
    (lambda: ammup.cnn(2, groups=0), "groups=0: expected an integer of at least 1"),
    (lambda: ammup.cnn(2, dilation=0), "dilation=0: expected an integer of at least 1"),
    (lambda: ammup.cnn(2, in_channels=0), "in_channels=0: expected an integer of at least 1"),
    (lambda: ammup.cnn(2, out_channels=0), "out_channels=0: expected an integer of at least 1"),
    (lambda: ammup.cnn(2, kernel=3.0), "kernel=3.0 must be a positive int, a tuple of 2 positive ints, or"),
    (lambda: ammup.cnn(2, kernel=-3), "kernel=-3 must be a positive int, a tuple of 2 positive ints, or"),
    (lambda: ammup.resnet(2, branch=0), "branch=0 with dims=2 must be a count of at least 1 or names"),
    (lambda: ammup.resnet(2, branch=["conv", "foo"]), "branch=['conv', 'foo'] with dims=2 must be a count of at"),
    (lambda: ammup.resnet(2, branch=[]), "branch=[] with dims=2 must be a count of at least 1 or names"),
    (lambda: ammup.resnet(2, c=0), "c=0 must be positive and finite"),
    (lambda: ammup.resnet(2, c=nan), "c=nan must be positive and finite"),
    (lambda: ammup.resnet(2, c=-1), "c=-1 must be positive and finite"),
    (lambda: ammup.resnet(2, scaled="first"), "unknown scaled='first'; expected one of: all, last"),
    (lambda: ammup.resnet(2, dropout=1.0), "dropout=1.0 must be at least 0 and below 1"),
    (lambda: ammup.resnet(2, dropout=-0.1), "dropout=-0.1 must be at least 0 and below 1"),
    (lambda: ammup.resnet(2, dropout=nan), "dropout=nan must be at least 0 and below 1"),
    (lambda: ammup.resnet(2, projections=[5]), "projections=[5] must be block numbers from 1 to depth=2"),
    (lambda: ammup.resnet(2, dims=0, branch=["conv"]), "branch=['conv'] with dims=0 must be a count of at least 1 or"),
    (lambda: ammup.resnet(2, dims=-1), "dims=-1 is unknown; expected 0 (dense), 1 or 2"),
    # Initialization and depth units.
    (
        lambda: ammup.initialize_(_Weightless()),
        "_Weightless has no linear, convolutional or recurrent layer, so it has",
    ),
    (lambda: ammup.initialize_("x"), "model is a str; give an nn.Module"),
    (lambda: ammup.initialize_(_net(), gain="x"), "unknown gain='x'; expected one of: forward, derivative, paper"),
    (lambda: ammup.initialize_(_net(), c=0), "c=0 must be positive and finite"),
    (
        lambda: ammup.initialize_(ammup.resnet(2, width=4), blocks=["nope"]),
        "blocks= and activation= must be passed together: they",
    ),
    (lambda: ammup.initialize_(_net(), readout="x"), "unknown readout='x'; expected one of: mean-field, he"),
    (lambda: ammup.initialize_(_net(), scaled="x"), "unknown scaled='x'; expected one of: all, last"),
    (lambda: ammup.depth_units(_net(), convention="x"), "unknown convention='x'; expected one of: paper, blocks"),
    (lambda: ammup.depth_units(3), "model is a int; give an nn.Module"),
    (
        lambda: ammup.depth_units(_net(), torch.randn(2, 5, 8, 8)),
        "CNN cannot be run on inputs of shape (2, 5, 8, 8): Given",
    ),
    (lambda: ammup.depth_units(_Raising(), IMAGES), "_Raising cannot be run on inputs of shape (4, 3, 8, 8):"),
    (
        lambda: ammup.depth_units(_Weightless(), IMAGES),
        "_Weightless has no linear, convolutional or recurrent layer, so it has",
    ),
    # Measurement.
    (
        lambda: ammup.measure_updates(_net(), torch.randn(4, 5, 8, 8), LABELS, loss="cross_entropy"),
        "CNN cannot be run on inputs of shape (4, 5, 8, 8): ",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES * nan, LABELS, loss="cross_entropy"),
        "inputs contain NaN or infinite values",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES * inf, LABELS, loss="cross_entropy"),
        "inputs contain NaN or infinite values",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES[:0], LABELS[:0], loss="cross_entropy"),
        "inputs have shape (0, 3, 8, 8); give (batch, …) with at least",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, torch.tensor([0, 1, 2, 10]), loss="cross_entropy"),
        "class indices are 0 to 10; the model has outputs 0 to 9",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, torch.tensor([0, 1, 2, -1]), loss="cross_entropy"),
        "class indices are -1 to 2; the model has outputs 0 to 9",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS[:3], loss="cross_entropy"),
        "class indices have shape (3,); expected (4,) for the outputs",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS > 1, loss="cross_entropy"),
        "targets are boolean; give a tensor of class indices, or",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, torch.full((4, 10), nan), loss="mse"),
        "targets contain NaN or infinite values",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, [0, 1, 2, 3], loss="cross_entropy"),
        "targets are a list; give a tensor of class indices, or floats",
    ),
    *(
        (
            call,
            "targets are class indices (torch.int64) and loss= is missing; pass loss='cross_entropy', or",
        )
        for call in (
            lambda: ammup.measure_updates(_net(), IMAGES, LABELS),
            lambda: ammup.maximal_lr(_net(), IMAGES, LABELS),
            lambda: ammup.check_finite_step(_net(), IMAGES, LABELS, lr=0.1),
            lambda: ammup.depth_exponent(_factory, [2, 4], inputs=IMAGES, targets=LABELS),
            lambda: ammup.check_depth_exponent(
                _factory, [2, 4], inputs=IMAGES, targets=LABELS, expected=-1.0, margin=0.1
            ),
            lambda: ammup.assert_depth_exponent(
                _factory, [2, 4], inputs=IMAGES, targets=LABELS, expected=-1.0, margin=0.1
            ),
            lambda: ammup.param_groups(_net(), 0.1, rule="per-unit", inputs=IMAGES, targets=LABELS),
            lambda: ammup.UpdateLogger(_net())(0, IMAGES, LABELS),
            lambda: ammup.UpdateLogger(_net(), every=10)(7, IMAGES, LABELS),  # before the first measurement
        )
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss="l1"),
        "unknown loss='l1'; expected one of: mse, cross_entropy, or a",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss="mse", part="x"),
        "unknown part='x'; expected one of: total, label, output",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss="mse", units=["nope"]),
        "units=['nope']: expected distinct module names; not in the",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss="mse", units=[]),
        "units=[]: expected distinct module names; not in the model: []",
    ),
    (lambda: ammup.measure_updates(_net(), IMAGES, label_draws=0), "label_draws=0 must be at least 1"),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss="mse", lr_factors={"nope": 1.0}),
        "lr_factors={'nope': 1.0}: expected names of trainable weights",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss="mse", lr_factors={"layers.0.weight": nan}),
        "lr_factors={'layers.0.weight': nan} must be finite and at least",
    ),
    (
        lambda: ammup.measure_updates(_Raising(), IMAGES, LABELS, loss="cross_entropy"),
        "_Raising cannot be run on inputs of shape (4, 3, 8, 8):",
    ),
    (
        lambda: ammup.measure_updates(_Scalar(), IMAGES, LABELS, loss="cross_entropy"),
        "_Scalar has no depth units in the convention 'paper'; choose",
    ),
    (
        lambda: ammup.measure_updates(_NotANumber(), IMAGES, LABELS, loss="cross_entropy"),
        "_NotANumber has no depth units in the convention 'paper';",
    ),
    (
        lambda: ammup.measure_updates(_Weightless(), IMAGES, LABELS, loss="cross_entropy"),
        "_Weightless has no trainable weights, so a step changes",
    ),
    (
        lambda: ammup.measure_updates(_net(), torch.zeros(4, 3, 8, 8, dtype=torch.int64), LABELS, loss="cross_entropy"),
        "inputs have dtype torch.int64; give floats (images:",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES.tolist(), LABELS, loss="cross_entropy"),
        "inputs are a list; give a tensor or array (batch, …), or a",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss=lambda a, b: a),
        "the loss returned a tensor (4, 10); it must return a scalar",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss=lambda a, b: 1 / 0),
        "the loss failed on outputs (4, 10): ZeroDivisionError:",
    ),
    (
        lambda: ammup.measure_updates(_net().requires_grad_(False), IMAGES, LABELS, loss="cross_entropy"),
        "CNN has no trainable weights, so a step changes nothing",
    ),
    (
        lambda: ammup.measure_updates(_net(), IMAGES, LABELS, loss="cross_entropy", optimizer=lambda p, lr: None),
        "optimizer(params, lr) returned NoneType; it must return a",
    ),
    (
        lambda: ammup.maximal_lr(_net(), IMAGES[:, :2], LABELS, loss="cross_entropy"),
        "CNN cannot be run on inputs of shape (4, 2, 8, 8): ",
    ),
    # The sharpness.
    (
        lambda: ammup.measure_sharpness(_net(), IMAGES, LABELS, loss="cross_entropy", matrix="x"),
        "unknown matrix='x'; expected one of: gauss-newton, hessian, ntk",
    ),
    (
        lambda: ammup.measure_sharpness(_net(), IMAGES, LABELS, loss="cross_entropy", tolerance=nan),
        "tolerance=nan must be a relative error from 1e-12 to 1, such as 0.01",
    ),
    (
        lambda: ammup.measure_sharpness(_net(), IMAGES, LABELS[:3], loss="cross_entropy"),
        "class indices have shape (3,); expected (4,) for the outputs",
    ),
    (
        lambda: ammup.measure_sharpness(_net(), IMAGES, loss=lambda a, b: 1 / 0),
        "the loss failed on outputs (4, 10): ZeroDivisionError:",
    ),
    (
        lambda: ammup.measure_sharpness(_Raising(), IMAGES, LABELS, loss="cross_entropy"),
        "_Raising cannot be run on inputs of shape (4, 3, 8, 8): ",
    ),
    (
        lambda: ammup.measure_sharpness(_Weightless(), IMAGES, LABELS, loss="cross_entropy"),
        "_Weightless has no trainable weights, so a step changes nothing",
    ),
    (lambda: ammup.check_finite_step(_net(), IMAGES, LABELS, lr=0), "lr=0 must be positive and finite"),
    (lambda: ammup.check_finite_step(_net(), IMAGES, LABELS, lr=nan), "lr=nan must be positive and finite"),
    (lambda: ammup.check_finite_step(_net(), IMAGES, LABELS, lr=inf), "lr=inf must be positive and finite"),
    # The depth exponent.
    (lambda: ammup.depth_exponent(_factory, [4], **BATCH), "depths=[4] has 1 entries; give at least 2"),
    (
        lambda: ammup.depth_exponent(_factory, [2, 2], **BATCH),
        "depths=[2, 2] contains a repeated depth; give each once",
    ),
    (lambda: ammup.depth_exponent(_factory, [0, 2], **BATCH), "depths=[0, 2]: expected integers of at least 1"),
    (lambda: ammup.depth_exponent(_factory, [2.5, 4], **BATCH), "depths=[2.5, 4]: expected integers of at least 1"),
    (lambda: ammup.depth_exponent(_factory, [], **BATCH), "depths=[] has 0 entries; give at least 2"),
    (lambda: ammup.depth_exponent(_factory, "24", **BATCH), "depths='24' has 1 entries; give at least 2"),
    (
        lambda: ammup.depth_exponent(_factory, [2, 4], seeds=0, **BATCH),
        "seeds=0 must be a count of at least 1 or distinct seeds",
    ),
    (
        lambda: ammup.depth_exponent(_factory, [2, 4], seeds=[1, 1], **BATCH),
        "seeds=[1, 1] must be a count of at least 1 or distinct seeds",
    ),
    (
        lambda: ammup.depth_exponent(_factory, [2, 4], seeds=1.5, **BATCH),
        "seeds=1.5 must be a count or a sequence of integers",
    ),
    (lambda: ammup.depth_exponent(_raising, [2, 4], **BATCH), "the factory failed at depth 2: RuntimeError: boom"),
    (
        lambda: ammup.depth_exponent(lambda depth, seed: None, [2, 4], **BATCH),
        "the factory returned NoneType at depth 2; it must return an",
    ),
    (
        lambda: ammup.depth_exponent(nn.Linear, [2, 4], **BATCH),
        "the factory failed at depth 2: TypeError: Linear.__init__()",
    ),
    (
        lambda: ammup.depth_exponent(lambda depth, seed: _factory(2, seed), [2, 4], **BATCH),
        "the factory ignores its depth: depths 2 and 4 both gave 2",
    ),
    (lambda: ammup.depth_exponent(lambda: _net(), [2, 4], **BATCH), "the factory failed at depth 2: TypeError:"),
    (
        lambda: ammup.depth_exponent(_factory, [2, 4], level=1.0, seeds=2, **BATCH),
        "level=1.0: expected a confidence level between 0",
    ),
    (
        lambda: ammup.depth_exponent(_factory, [2, 4], level=nan, seeds=2, **BATCH),
        "level=nan: expected a confidence level between 0",
    ),
    (
        lambda: ammup.depth_exponent(_factory, [2, 4], device="cudaa", seeds=2, **BATCH),
        "device 'cudaa' cannot be used: Expected one of cpu, cuda,",
    ),
    (
        lambda: ammup.depth_exponent(_factory, [2, 4], device="cuda", seeds=2, **BATCH),
        "device 'cuda' cannot be used: Found no NVIDIA driver on your",
    ),
    (lambda: ammup.depth_exponent(3, [2, 4], **BATCH), "the factory failed at depth 2: TypeError: 'int' object is not"),
    (
        lambda: ammup.depth_exponent(
            lambda depth, seed: nn.Sequential(*[nn.Identity() for _ in range(depth)]), [2, 4], **BATCH
        ),
        "Sequential has no trainable weights, so a step changes nothing",
    ),
    (
        lambda: ammup.check_depth_exponent(_factory, [2, 4], expected=-1.0, margin=0, **BATCH),
        "margin=0 must be positive and finite",
    ),
    (
        lambda: ammup.check_depth_exponent(_factory, [2, 4], expected=nan, margin=0.1, **BATCH),
        "expected=nan must be finite: the slope, with its sign",
    ),
    (
        lambda: ammup.check_depth_exponent(_factory, [2, 4], expected=-1.0, margin=0.1, level=1.5, **BATCH),
        "level=1.5: expected a confidence level between 0",
    ),
    (
        lambda: ammup.check_depth_exponent(_factory, [2, 4], expected=-1.0, margin=nan, **BATCH),
        "margin=nan must be positive and finite",
    ),
    # Transfer.
    (lambda: ammup.transfer_lr(0, 2, 4, rule="constant"), "lr=0 must be positive and finite; give the learning rate"),
    (
        lambda: ammup.transfer_lr(nan, 2, 4, rule="constant"),
        "lr=nan must be positive and finite; give the learning rate",
    ),
    (lambda: ammup.transfer_lr(0.1, 0, 4, rule="constant"), "from_depth=0: expected an integer of at least 1"),
    (lambda: ammup.transfer_lr(0.1, 2, -4, rule="constant"), "to_depth=-4: expected an integer of at least 1"),
    (lambda: ammup.transfer_lr(0.1, 2, 4, rule="foo"), "unknown rule='foo'; expected one of: constant, L^-1/2, L^-1,"),
    (lambda: ammup.transfer_lr(0.1, 2, 4), "rule='measured' needs measured=, a DepthLaw such as"),
    (lambda: ammup.transfer_lr(0.1, 2, 4, measured={}), "depths=[] has 0 entries; give at least 1"),
    (
        lambda: ammup.transfer_lr(0.1, 2, 4, measured={2: 0.1}),
        "depth 4 lies outside the measured depths [2]; measure it too, or",
    ),
    (
        lambda: ammup.transfer_lr(0.1, 2, 4, measured={2: nan, 4: 0.1}),
        "measured contains η*=[nan, 0.1]; every value must be positive",
    ),
    (
        lambda: ammup.transfer_lr(0.1, 2, 4, measured={2: -1, 4: 0.1}),
        "measured contains η*=[-1.0, 0.1]; every value must be positive",
    ),
    (
        lambda: ammup.transfer_lr(0.1, 2, 4, rule="pathsum"),
        "rule='pathsum' needs family= (with branch= for a 'resnet'),",
    ),
    (
        lambda: ammup.transfer_lr(0.1, 2, 4, rule="finite-depth"),
        "rule='finite-depth' needs family= (with branch= for a",
    ),
    (lambda: ammup.transfer_lr(0.1, 2.5, 4, rule="L^-1"), "from_depth=2.5: expected an integer of at least 1"),
    (lambda: ammup.transfer_lr(0.1, "2", 4, rule="L^-1"), "from_depth='2': expected an integer of at least 1"),
    (lambda: ammup.transfer_table(-1, 2, 4), "lr=-1 must be positive and finite; give the learning rate"),
    (
        lambda: ammup.transfer_table(0.1, 2, 4, measured="x"),
        "measured is a str; give a DepthLaw, an object whose curve is",
    ),
    (
        lambda: ammup.transfer_regret(RUNS, {"a": {2: 1.0, 4: 0.5}}, base=3),
        "base=3 is not a depth of the runs; choose one of [2, 4]",
    ),
    (
        lambda: ammup.transfer_regret(RUNS, {"a": {4: 0.5}}, base=2),
        "rule 'a' has no η* at the base depth 2; it has {4: 0.5}",
    ),
    (
        lambda: ammup.transfer_regret(RUNS, {"a": {2: 1.0, 4: nan}}, base=2),
        "rule 'a' has an η* that is not positive and finite: {2: 1.0,",
    ),
    (
        lambda: ammup.transfer_regret(RUNS.drop(columns="val_loss"), {"a": {2: 1.0, 4: 0.5}}, base=2),
        "the runs have no column val_loss; they need depth, lr, seed,",
    ),
    (
        lambda: ammup.transfer_regret(RUNS, {"a": {2: 1.0, 4: 0.5}}, base=2, level=5),
        "level=5: expected a confidence level between 0",
    ),
    (
        lambda: ammup.transfer_regret(RUNS, {"a": {2: 1.0, 4: -1.0}}, base=2),
        "rule 'a' has an η* that is not positive and finite: {2: 1.0,",
    ),
    # Laws.
    (lambda: ammup.pathsum_lr([2, 4], family="x"), "unknown family='x'; expected one of: mlp, cnn, resnet"),
    (lambda: ammup.pathsum_lr([0, 4], family="cnn"), "depths=[0, 4]: expected integers of at least 1"),
    (lambda: ammup.pathsum_lr([2], family="cnn", kernel=0), "kernel=0: expected an integer of at least 1"),
    (
        lambda: ammup.pathsum_lr([2], family="cnn", base_lr=nan),
        "base_lr=nan must be positive and finite; give the learning",
    ),
    (lambda: ammup.finite_depth_law([2, 4], family="x"), "unknown family='x'; expected one of: mlp, cnn, resnet"),
    (lambda: ammup.finite_depth_law([-2], family="mlp"), "depths=[-2]: expected integers of at least 1"),
    (
        lambda: ammup.finite_depth_law([2], family="mlp", activation="foo"),
        "unknown activation='foo'; expected one of: relu, gelu, linear",
    ),
    (lambda: ammup.fit_power_law([2], [0.1]), "depths=[2] has 1 entries; give at least 2"),
    (lambda: ammup.fit_power_law([2, 4], [0.1]), "values has shape (1,); expected a list of 2 values"),
    (lambda: ammup.fit_power_law([2, 4], [0.1, nan]), "values=[0.1, nan] must be positive and finite"),
    (lambda: ammup.fit_power_law([2, 4], [0.1, -0.1]), "values=[0.1, -0.1] must be positive and finite"),
    (
        lambda: ammup.fit_power_law([2, 4, 8], [0.1, 0.2, 0.3], se=[0, 0.1, 0.1]),
        "se=[0.0, 0.1, 0.1] must be positive and finite",
    ),
    (
        lambda: ammup.fit_power_law([2, 4, 8], [0.1, 0.2, 0.3], se=[0.1]),
        "se has shape (1,); expected a list of 3 values",
    ),
    (
        lambda: ammup.fit_power_law([2, 4, 8], [0.1, 0.2, 0.3], level=2),
        "level=2: expected a confidence level between 0",
    ),
    (lambda: ammup.fit_power_law([2, 2], [0.1, 0.2]), "depths=[2, 2] contains a repeated depth; give each once"),
    (lambda: ammup.fit_power_law([2, 4], [inf, 0.1]), "values=[inf, 0.1] must be positive and finite"),
    (lambda: ammup.fit_power_law(["a", "b"], [1, 2]), "depths=['a', 'b']: expected integers of at least 1"),
    # Sweeps' fits.
    (lambda: ammup.fit_sweep(RUNS[:0]), "there are no runs to fit"),
    (lambda: ammup.fit_sweep(RUNS.drop(columns="lr")), "the runs have no column lr; they need depth, lr, seed,"),
    (lambda: ammup.fit_sweep(RUNS, kind="x"), "unknown optimum='x'; expected one of: smoothed, argmax, edge"),
    (
        lambda: ammup.fit_sweep(RUNS, kind="edge", chance=float("inf")),
        "chance=inf: expected the accuracy of a random guess",
    ),
    (
        lambda: ammup.fit_sweep(RUNS.assign(diverged=True, val_accuracy=nan)),
        "every learning rate of a depth diverged; extend the grid to",
    ),
    (lambda: ammup.fit_sweep(RUNS, level=0), "level=0: expected a confidence level between 0"),
    (lambda: ammup.fit_sweep(pd.concat([RUNS, RUNS])), "18 runs repeat the depth, learning rate and seed of another"),
    (
        lambda: ammup.fit_sweep(RUNS.assign(val_accuracy=nan)),
        "18 runs have no val_accuracy and are not marked as diverged",
    ),
    (
        lambda: ammup.fit_sweep(RUNS.assign(lr=-RUNS.lr)),
        "the runs contain learning rates that are not positive and finite",
    ),
    (lambda: ammup.fit_sweep([1, 2]), "runs: expected a pandas.DataFrame, not list"),
    (
        lambda: ammup.fit_sweep(RUNS.assign(val_accuracy="x")),
        "the runs contain a value that is not a number: could not convert",
    ),
    # Data.
    (lambda: ammup.load_data("cifar11"), "unknown data source 'cifar11'; expected one of: synthetic, cifar10,"),
    (lambda: ammup.load_data("/nope"), "unknown data source '/nope'; expected one of: synthetic, cifar10,"),
    (lambda: ammup.load_data("synthetic", image_size=0), "image_size=0 must be at least 1"),
    (lambda: ammup.load_data("synthetic", image_size=-8), "image_size=-8 must be at least 1"),
    (
        lambda: ammup.load_data("synthetic", image_size=8, train=-1),
        "train=-1: expected 1 to 9000, the number of available images",
    ),
    (lambda: ammup.load_data("synthetic", image_size=8, train=0), "train=0: expected 1 to 9000"),
    (lambda: ammup.load_data("synthetic", image_size=8, validation=-1), "validation=-1: expected 0 to 9999"),
    (
        lambda: ammup.load_data("synthetic", image_size=100000),
        "data source 'synthetic' does not fit in memory: Unable to allocate",
    ),
    (
        lambda: ammup.load_data("synthetic", image_size=8, train=10**12),
        "train=1000000000000: expected 1 to 9000",
    ),
    (lambda: ammup.load_data(None), "data source None is a NoneType; expected a name or a path"),
    (lambda: DATA.batch(0), "batch size 0: expected 1 to 64"),
    (lambda: DATA.batch(10**6), "batch size 1000000: expected 1 to 64"),
    (lambda: DATA.batch(-1), "batch size -1: expected 1 to 64"),
    # Training.
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[], seeds=1, data=DATA),
        "lrs=[] must be one or more distinct learning rates, positive",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[-1], seeds=1, data=DATA),
        "lrs=[-1.0] must be one or more distinct learning rates,",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[nan], seeds=1, data=DATA),
        "lrs=[nan] must be one or more distinct learning rates,",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1, 0.1], seeds=1, data=DATA),
        "lrs=[0.1, 0.1] must be one or more distinct learning rates,",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=0, data=DATA),
        "seeds=[] must be one or more distinct seeds",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=1, data=DATA, batch_size=0),
        "batch_size=0 must be at least 1",
    ),
    (lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=1, data=DATA, epochs=0), "epochs=0 must be at least 1"),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=1, data=DATA, momentum=-1),
        "momentum=-1 must be finite and at least 0",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=1, data=DATA, weight_decay=nan),
        "weight_decay=nan must be finite and at least 0",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=1, data=DATA, dtype="float16"),
        "unknown dtype='float16'; expected one of: float32, float64,",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=1, data=DATA, strategy="x"),
        "unknown strategy='x'; expected one of: auto, loop, stacked",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=1, data=UNVALIDATED),
        "the data have no validation images",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=[0.1], seeds=1, data=DATA, device="cuda"),
        "device 'cuda' cannot be used: Found no NVIDIA driver on your",
    ),
    (
        lambda: ammup.train_replicas(
            lambda depth, seed: ammup.cnn(depth, width=4, out_channels=7, seed=seed), 2, lrs=[0.1], seeds=1, data=DATA
        ),
        "the model of depth 2 returned (2, 7); expected one logit per class,",
    ),
    (
        lambda: ammup.train_replicas(lambda depth, seed: _Scalar(), 2, lrs=[0.1], seeds=1, data=DATA),
        "the model of depth 2 returned (); expected one logit per class, (2,",
    ),
    (
        lambda: ammup.train_replicas(lambda depth, seed: _Raising(), 2, lrs=[0.1], seeds=1, data=DATA),
        "the model of depth 2 failed on images (64, 3, 8, 8):",
    ),
    (
        lambda: ammup.train_replicas(_factory, 2, lrs=["a"], seeds=1, data=DATA),
        "lrs=['a'] must be numbers: could not convert string to float:",
    ),
    *(
        (
            partial(ammup.train_replicas, _factory, 2, lrs=[0.1], seeds=1, data=data),
            f"data is a {kind}; give ammup.load_data(",
        )
        for data, kind in (
            (TensorDataset(IMAGES, LABELS), "TensorDataset"),
            (DataLoader(TensorDataset(IMAGES, LABELS)), "DataLoader"),
            ((IMAGES.numpy(), LABELS.numpy()), "tuple"),
            (IMAGES.numpy(), "ndarray"),
            ("synthetic", "str"),
        )
    ),
    *(
        (partial(replace, DATA, **changes), message)
        for changes, message in (
            (
                {"train_images": DATA.train_images.astype(np.int64)},
                "train_images have dtype int64 and shape (64, 8, 8, 3); give images as uint8 from 0 to 255, other",
            ),
            (
                {"val_images": DATA.val_images / 255},
                "train_images and val_images have the dtypes uint8 and float64; expected equal ones",
            ),
            ({"train_images": [1, 2]}, "train_images are a list; give a uint8 array (N, height, width, channels)"),
            (
                {"train_images": DATA.train_images.transpose(0, 3, 1, 2)},
                "train_images have shape (64, 3, 8, 8); expected (N, height, width, channels), so move the",
            ),
            ({"train_images": DATA.train_images[0]}, "train_images have shape (8, 8, 3); expected (N, height, width"),
            (
                {"train_labels": DATA.train_labels[:9]},
                "there are 64 train_images and 9 train_labels; give one label for",
            ),
            (
                {"train_labels": DATA.train_labels + 1},
                "train_labels are 1 to 10; expected 0 to 9, because there are 10",
            ),
            (
                {"train_labels": DATA.train_labels * 1.0},
                "train_labels are float64 of shape (64,); give one class index",
            ),
            (
                {"val_images": DATA.val_images[:, :4]},
                "train_images and val_images have images of shapes (8, 8, 3) and (4, 8, 3); expected equal ones",
            ),
        )
    ),
    (
        lambda: ammup.train_replicas(lambda depth, seed: _Weightless(), 2, lrs=[0.1], seeds=1, data=DATA),
        "the model of depth 2 returned (2, 192); expected one logit",
    ),
    (
        lambda: ammup.train_replicas(_factory, -2, lrs=[0.1], seeds=1, data=DATA),
        "depth=-2: expected an integer of at least 1",
    ),
    # Parameter groups.
    (lambda: ammup.param_groups(_net(), 0), "lr=0 must be positive and finite"),
    (lambda: ammup.param_groups(_net(), 0.1, rule="x"), "unknown rule='x'; expected one of: global, fan-in, per-unit"),
    (lambda: ammup.param_groups(_net(), 0.1, rule="per-unit"), "rule='per-unit' measures the model: give inputs=, and"),
    (lambda: ammup.param_groups(_Weightless(), 0.1), "_Weightless has no trainable weights, so there is nothing to"),
    (lambda: ammup.param_groups(_net(), nan), "lr=nan must be positive and finite"),
    (lambda: ammup.param_groups(_net(), 0.1, groups=3), "groups= is a int; give an optimizer or a list of its param"),
    (
        lambda: ammup.param_groups(_net(), 0.1, groups={"params": []}),
        "groups= is a dict; give an optimizer or a list of its param groups",
    ),
    (
        lambda: ammup.param_groups(_net(), 0.1, groups=list(_net().parameters())),
        "groups[0] is a Parameter; expected a dict with 'params', as for an optimizer",
    ),
    (
        lambda: ammup.param_groups(_net(), 0.1, groups=[{"params": 3}]),
        "groups[0]['params'] is a int; expected parameters",
    ),
    (
        lambda: ammup.param_groups(_net(), 0.1, groups=torch.optim.SGD(_net().parameters())),
        "group '0' of groups= contains a tensor (4, 3, 3, 3) that is not a parameter of the model; leave it out",
    ),
    (lambda: ammup.UpdateLogger(_net(), every=0), "every=0 must be at least 1"),
    (
        lambda: ammup.UpdateLogger(_net(), optimizer=torch.optim.SGD(_net().parameters(), 0.1)),
        "the optimizer has none of the model's parameters; build it from this model",
    ),
    (
        lambda: ammup.UpdateLogger(_net(), optimizer=torch.optim.SGD),
        "optimizer is a type; give the torch.optim.Optimizer of the loop",
    ),
    (lambda: ammup.UpdateLogger(_net(), loss="l1"), "unknown loss='l1'; expected one of: mse, cross_entropy, or a"),
    (
        lambda: ammup.UpdateLogger(_net(), units=["no"]),
        "units=['no']: expected distinct module names; not in the model",
    ),
    (lambda: ammup.UpdateLogger(3), "model is a int; give the nn.Module that is trained"),
    # Experiments.
    (
        lambda: ammup.read_experiments(Path("/nope.toml")),
        "/nope.toml: [Errno 2] No such file or directory: '/nope.toml'",
    ),
    (
        lambda: ammup.read_experiments(Path("cnn-relu-cifar1")),
        "unknown experiment 'cnn-relu-cifar1'; nearest of 15:",
    ),
    (
        lambda: ammup.read_experiments(Path("cnn-relu-cifar10"), profile="tiny"),
        "cnn-relu-cifar10: unknown profile 'tiny'; expected one of: small",
    ),
    (
        lambda: ammup.read_experiments(Path("cnn-padding-cifar10"), variant="foo"),
        "cnn-padding-cifar10: unknown variant 'foo'; expected one of",
    ),
    (
        lambda: ammup.read_experiments(Path("cnn-relu-cifar10"), changes=["grid"]),
        "cnn-relu-cifar10: 'grid': expected the form TABLE.NAME=VALUE,",
    ),
    (
        lambda: ammup.read_experiments(Path("cnn-relu-cifar10"), changes=["grid.foo=3"]),
        "cnn-relu-cifar10: grid.foo: unknown setting",
    ),
    (
        lambda: ammup.read_experiments(Path("cnn-relu-cifar10"), changes=["grid.seeds=a"]),
        "cnn-relu-cifar10: grid.seeds: Input should be a valid integer",
    ),
    (lambda: Segment(anchors=(2,), predict=(4,)), "depths=(2,) has 1 entries; give at least 2"),
    (lambda: Segment(anchors=(2, 2), predict=(4,)), "depths=[2, 2] contains a repeated depth; give each once"),
]


def outcome(call: Callable[[], object]) -> tuple[str, str]:
    """(name of what was raised, its message)."""
    try:
        returned = call()
    except BaseException as error:
        return type(error).__name__, str(error)
    return "nothing", repr(returned)


if __name__ == "__main__":
    warnings.simplefilter("error")
    json.dump([outcome(call) for call, _ in CASES], sys.stdout)
