"""The signal at initialization: the mean square of every depth unit, and whether normalization bounds it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ammup.arrays import Array
from ammup.measurement.observation import observed_units
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step
from ammup.models.factory import Factory, build_model
from ammup.models.state import preserved


def signal_squares(factory: Factory, depths: Sequence[int], spec: MeasurementSpec, seed: int) -> Mapping[int, Array]:
    """For each depth, the mean over samples, channels and positions of z² of every unit, for one weight draw.

    Args:
        factory: as in :func:`ammup.depth_exponent`.
        depths: the depths.
        spec: the batch, the forward and the units.
        seed: the weight draw.

    Raises:
        InputError: the factory fails, or a model cannot be run.
    """
    return {depth: model_signal(build_model(factory, depth, seed, spec.device), spec) for depth in depths}


def weight_gains(factory: Factory, depths: Sequence[int], spec: MeasurementSpec, seed: int) -> Mapping[int, float]:
    """For each depth, the factor of the root mean square of the outputs if all weight matrices are doubled.

    It is 2^(L+1) for a plain net of L layers and a readout, and about 2 if normalization layers bound the signal.
    Arguments and errors as in :func:`signal_squares`.
    """
    return {depth: model_gain(build_model(factory, depth, seed, spec.device), spec) for depth in depths}


def model_gain(model: nn.Module, spec: MeasurementSpec) -> float:
    """The factor of the root mean square of one model's outputs if all its weight matrices are doubled."""
    with preserved(model) as state, torch.no_grad():
        step = Step.from_model(model, spec, state=state)
        squares = []
        for factor in (1.0, 2.0):
            weights = {name: w * factor if w.ndim > 1 else w for name, w in step.weights.items()}
            squares.append(float(step.run(weights).detach().double().square().mean()))
            state.restore()
    return math.sqrt(squares[1] / squares[0]) if squares[0] > 0 else math.nan


def model_signal(model: nn.Module, spec: MeasurementSpec) -> Array:
    """The mean square of the output of every unit of one model."""
    squares: dict[str, float] = {}

    def record(name: str, output: Tensor) -> None:
        squares[name] = float(output.detach().double().square().mean())

    with preserved(model) as state, torch.no_grad():
        step = Step.from_model(model, spec, state=state)
        with observed_units(model, step.units, record):
            step.run(step.weights)
    return np.array([squares[name] for name in step.units])
