"""Many weight draws of one net, measured by the library's stacked pass.

Building one module for each draw takes ten times as long as measuring it. Here one module is built for each depth, and
its weights are drawn in bulk, from the variances that `ammup.initialize_` states. The distribution is that of the
library; the draws of a seed differ. `tests/benchmarks/test_pools.py` compares S̄ of the same weights, and distributions.

Axes: D weight draw, L depth.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import ammup
from ammup.claims.draws import Setting
from ammup.measurement.forward_mode import channels_last, supports_channels_last
from ammup.measurement.jvp import measure_stacked
from ammup.measurement.moments import UpdateMoments
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step
from ammup.models.factory import build_model
from ammup.models.modes import default_modes
from ammup.models.streams import random_stream
from ammup.theory.wide_limit import gradient_squares

Array = NDArray[np.float64]


@cache
def template(setting: Setting, depth: int) -> tuple[Step, Mapping[str, float]]:
    """(The step of one net, the standard deviation of each weight that is drawn)."""
    net = setting.architecture(depth)
    model = build_model(setting.factory, depth, 0, torch.device("cpu"))
    table = ammup.initialize_(model, gain=net.gain, c=net.c, scaled=net.scaled, readout=net.readout, seed=0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            _use_batch_statistics(module)
    inputs, targets = setting.batch
    spec = MeasurementSpec(
        inputs=inputs, targets=targets, loss=setting.loss, part=setting.part, label_draws=setting.label_draws
    )
    return Step.from_model(model, spec), dict(zip(table["parameter"], table["variance"] ** 0.5, strict=True))


def _use_batch_statistics(module: nn.BatchNorm2d) -> None:
    """Keep no running statistics, which vmap cannot update; in training mode the outputs do not depend on them."""
    module.track_running_stats = False
    module.running_mean = module.running_var = module.num_batches_tracked = None


def drawn_weights(setting: Setting, depth: int, block: int, draws: int) -> dict[str, Tensor]:
    """The weights of all draws of a block, each of shape (D, ...), from a stream of their own."""
    step, deviations = template(setting, depth)
    generator = random_stream("pool", repr(setting), depth, block)
    stacked = {name: weight.expand(draws, *weight.shape) for name, weight in step.weights.items()}
    for name, deviation in deviations.items():
        noise = torch.empty(stacked[name].shape).normal_(generator=generator)
        stacked[name] = noise.mul_(deviation)
    return stacked


def draw_moments(setting: Setting, depth: int, block: int, draws: int) -> list[UpdateMoments]:
    """The moments of each draw of a block."""
    step, _ = template(setting, depth)
    weights = drawn_weights(setting, depth, block, draws)
    layout = channels_last if supports_channels_last(step.model) else torch.Tensor.contiguous
    steps = [replace(step, weights={name: layout(w[i]) for name, w in weights.items()}) for i in range(draws)]
    with default_modes():
        return measure_stacked(steps, [("pool", depth, block, i) for i in range(draws)])


def draw_block(setting: Setting, block: int, draws: int, *, controlled: bool) -> tuple[Array, Array]:
    """(S̄, control variate) of each draw and depth, both (D, L); without ``controlled`` the latter has no columns."""
    S_bar, controls = [], []
    for depth in setting.depths:
        moments = draw_moments(setting, depth, block, draws)
        S_bar.append([m.S_bar for m in moments])
        if controlled:
            expected = gradient_squares(*setting.law_arguments(depth))
            squares = np.array([list(m.gradient_squares.values())[: len(expected)] for m in moments])
            controls.append((squares / expected).mean(axis=1))
    return np.array(S_bar).T, np.array(controls).T.reshape(draws, -1)
