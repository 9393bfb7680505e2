"""TF32 and bfloat16 are used exactly when they are requested."""

import pytest
import torch

from ammup.training.precision import DTYPES, autocast, precision
from ammup.training.runs import DTYPES as NAMES
from ammup.training.runs import Training


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
def test_tf32_is_as_requested_and_restored(dtype: str) -> None:
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this torch has one flag for convolutions and recurrent nets")
    operators = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [operator.fp32_precision for operator in operators]
    with precision(torch.device("cuda"), tf32=dtype == "tf32"):
        assert {operator.fp32_precision for operator in operators} == {"tf32" if dtype == "tf32" else "ieee"}
    assert [operator.fp32_precision for operator in operators] == before
    assert torch.backends.cudnn.allow_tf32 in (True, False)  # reading the older flag still works


def test_gpu_settings_are_not_changed_on_a_cpu() -> None:
    before = torch.backends.cudnn.allow_tf32
    with precision(torch.device("cpu"), tf32=not before):
        assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize("dtype", NAMES)
def test_only_bfloat16_rounds_products(dtype: str) -> None:
    weight = torch.full((1, 1), 1 + 2**-10, dtype=DTYPES[dtype])  # bfloat16 has eight bits of mantissa
    with autocast(Training(dtype=dtype), torch.device("cpu")):
        product = weight @ torch.ones_like(weight)
    assert float(product) == (1.0 if dtype == "bfloat16" else 1 + 2**-10)
    assert product.dtype == (torch.bfloat16 if dtype == "bfloat16" else DTYPES[dtype])
