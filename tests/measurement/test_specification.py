"""`MeasurementSpec`: checks when it is built, and moving of inputs and targets."""

import pytest
import torch

from ammup import InputError
from ammup.measurement.specification import MeasurementSpec

X = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": [[1.0, 2.0]]}, "inputs are a list; give a tensor or array"),
        ({"inputs": torch.ones(2, 3, dtype=torch.uint8)}, "inputs have dtype torch.uint8; give floats"),
        ({"inputs": torch.ones(0, 3)}, r"inputs have shape \(0, 3\)"),
        ({"inputs": torch.ones(3)}, r"inputs have shape \(3,\); give \(batch"),
        ({"inputs": torch.full((2, 3), float("nan"))}, "NaN or infinite"),
        ({"loss": "l1"}, "loss='l1'"),
        ({"part": "half"}, "part='half'"),
        ({"part": "label", "optimizer": torch.optim.SGD}, "part='label' of an optimizer's step"),
        ({"label_draws": 0}, "label_draws=0"),
        ({"lr_factors": {"weight": -1.0}}, "lr_factors=.*at least 0"),
        ({"lr_factors": {"weight": float("inf")}}, "lr_factors=.*finite"),
        ({"method": "vjp"}, "method='vjp'"),
        ({"method": "jvp", "autocast": torch.bfloat16}, "method=.jvp. computes without autocast"),
    ],
)
def test_invalid_fields_are_rejected(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MeasurementSpec(**{"inputs": X, **fields})


def test_inputs_of_forward_may_have_any_structure() -> None:
    batch = {"tokens": torch.tensor([1, 2]), "scale": torch.ones(2), "name": "b"}
    spec = MeasurementSpec(inputs=batch, forward=lambda model, inputs: model(inputs["tokens"]))
    moved = spec.inputs_on(torch.ones(1, dtype=torch.float64))
    assert moved["tokens"].dtype == torch.int64
    assert moved["scale"].dtype == torch.float64
    assert moved["name"] == "b"


def test_targets_are_moved_and_keep_their_dtype() -> None:
    spec = MeasurementSpec(inputs=X, targets=torch.tensor([0, 1]), loss="mse")
    assert spec.targets_on(torch.ones(1, device="meta")).device.type == "meta"
    assert MeasurementSpec(inputs=X).targets_on(X) is None
