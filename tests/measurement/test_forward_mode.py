"""Forward-mode rules of attention, and memory layouts."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ammup.measurement.forward_mode import (
    attention_with_forward_rule,
    channels_last,
    load_forward_rules,
    supports_channels_last,
)


def test_attention_is_differentiated_and_its_fast_path_is_restored() -> None:
    q = torch.randn(1, 2, 3, 4)
    before = torch.backends.mha.get_fastpath_enabled()
    with attention_with_forward_rule():
        _, tangent = torch.func.jvp(lambda x: F.scaled_dot_product_attention(x, q, q), (q,), (torch.ones_like(q),))
        assert not torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mha.get_fastpath_enabled() == before
    step = 1e-3
    ahead, behind = (F.scaled_dot_product_attention(q + s, q, q) for s in (step, -step))
    torch.testing.assert_close(tangent, (ahead - behind) / (2 * step), rtol=1e-2, atol=1e-3)


def test_an_exception_restores_the_fast_path() -> None:
    before = torch.backends.mha.get_fastpath_enabled()

    def fail() -> None:
        with attention_with_forward_rule():
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_loading_the_rules_causes_no_warning() -> None:
    load_forward_rules.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_forward_rules()


def test_only_tensors_with_four_axes_on_a_cpu_are_converted_to_channels_last() -> None:
    assert channels_last(torch.ones(2, 3, 4, 5)).is_contiguous(memory_format=torch.channels_last)
    sequence = torch.ones(2, 3, 4)
    assert channels_last(sequence) is sequence
    meta = torch.ones(2, 3, 4, 5, device="meta")
    assert channels_last(meta) is meta


def test_nets_without_group_norm_support_channels_last() -> None:
    assert supports_channels_last(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
