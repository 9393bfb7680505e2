"""NumPy arrays in place of tensors: the same results, and one-line errors for arrays of something else."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ammup
from ammup import InputError
from ammup.models.array_input import tensor_if_array

X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([3, 0, 9, 9])
NET = partial(ammup.cnn, width=4)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.arange(3), torch.int64),
        (np.arange(3, dtype=np.uint16), torch.int64),
        (np.arange(3, dtype=np.uint8), torch.uint8),
        (np.arange(3, dtype=np.float16), torch.float16),
        (np.arange(3, dtype=">f4"), torch.float32),
        (np.arange(3, dtype=np.longdouble), torch.float64),
        (np.arange(6)[::-2], torch.int64),
        (np.array([True, False]), torch.bool),
        (np.asfortranarray(np.arange(6.0).reshape(2, 3)), torch.float64),
        (np.array(2.5), torch.float64),
    ],
)
def test_an_array_becomes_a_tensor_of_the_same_numbers(array: np.ndarray, dtype: torch.dtype) -> None:
    array.flags.writeable = False
    tensor = tensor_if_array("x", array)
    assert tensor.dtype == dtype
    assert tensor.shape == array.shape
    assert tensor.tolist() == array.tolist()


def test_other_values_are_unchanged() -> None:
    for value in (X, [1, 2], None, "text"):
        assert tensor_if_array("x", value) is value


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([None]), np.array([1j]), np.array(["2026-01-01"], "M8[D]")]
)
def test_arrays_that_are_not_real_numbers_are_rejected(array: np.ndarray) -> None:
    with pytest.raises(
        InputError, match=r"targets is an array of dtype .*; give an array of real numbers, or a tensor"
    ):
        tensor_if_array("targets", array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_measurement_takes_arrays(dtype: type) -> None:
    x, y, net = X.numpy().astype(dtype), Y.numpy(), NET(2)
    batch, arrays = {"inputs": X, "targets": Y}, {"inputs": x, "targets": y}
    given, loss = (batch, arrays), {"loss": "cross_entropy"}
    for S in zip(*(ammup.measure_updates(net, **b, **loss).S.tolist() for b in given), strict=True):
        assert S[0] == S[1]
    assert ammup.maximal_lr(net, x, y, **loss) == ammup.maximal_lr(net, X, Y, **loss)
    steps = [ammup.check_finite_step(net, **b, lr=0.1, **loss).true.tolist() for b in given]
    assert steps[0] == steps[1]
    tables = [ammup.depth_exponent(NET, [2, 3], **b, seeds=2, **loss).table for b in given]
    assert tables[0].equals(tables[1])
    allowed = {"expected": 0.0, "margin": 50.0, "seeds": 2}
    checks = [ammup.check_depth_exponent(NET, [2, 3], **b, **loss, **allowed).law.table for b in given]
    assert checks[0].equals(checks[1])
    for rule in ("fan-in", "per-unit"):
        rates = [[g["lr"] for g in ammup.param_groups(net, 0.1, rule=rule, tuned=rule, **b, **loss)] for b in given]
        assert rates[0] == rates[1]
    assert ammup.depth_units(net, x) == ammup.depth_units(net, X)
    logger = ammup.UpdateLogger(net, **loss)
    logger(0, x, y)
    assert logger.S[0].tolist() == ammup.measure_updates(net, X, Y, **loss).S.tolist()


def test_arrays_of_class_indices_need_a_loss() -> None:
    with pytest.raises(InputError, match="loss= is missing"):
        ammup.measure_updates(NET(2), X.numpy(), Y.numpy())
    one_hot = np.eye(10)[Y.numpy()]
    found = ammup.measure_updates(NET(2), X.numpy(), one_hot).S
    np.testing.assert_allclose(found, ammup.measure_updates(NET(2), X, Y, loss="mse").S, rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (DataLoader(TensorDataset(X, Y)), "inputs are a DataLoader; give the inputs of one batch, a tensor or array"),
        (TensorDataset(X, Y), "inputs are a TensorDataset; give the inputs of one batch, a tensor or array"),
        ([X, Y], "inputs are a list; give a tensor or array"),
        (np.zeros((2, 3, 6, 6), np.uint8), "inputs have dtype torch.uint8; give floats"),
        (np.array(["a"]), "inputs is an array of dtype <U1"),
        (np.full((2, 3, 6, 6), np.nan), "inputs contain NaN"),
        (np.zeros((2, 6, 6, 3)), "CNN cannot be run on inputs of shape"),
    ],
)
def test_other_inputs_are_rejected_in_one_line(inputs: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        ammup.measure_updates(NET(2), inputs)
    assert "\n" not in str(error.value)
