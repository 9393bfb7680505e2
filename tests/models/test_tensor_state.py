"""One tensor and its storage, changed in every way and restored."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ammup.models.tensor_state import StorageState, TensorState, restore_dict


def _detached(weight: Tensor) -> None:
    weight.requires_grad_(False)


def _graded(weight: Tensor) -> None:
    weight.grad = torch.ones_like(weight)


def _replaced(weight: Tensor) -> None:
    weight.data = torch.full_like(weight, 7.0)


def _hooked(weight: Tensor) -> None:
    weight.register_hook(lambda gradient: gradient)


def _made_inner(weight: Tensor) -> None:
    """A leaf becomes the result of an operation in place."""
    with torch.no_grad():
        weight.requires_grad_(False)
    weight.mul_(torch.ones((), requires_grad=True))


@pytest.mark.parametrize("change", [_detached, _graded, _replaced, _hooked, _made_inner])
def test_a_changed_tensor_is_what_it_was(change: Callable[[Tensor], None]) -> None:
    weight = torch.arange(6.0).requires_grad_()
    place, bits = weight.data_ptr(), weight.detach().clone()
    state = TensorState(weight)
    change(weight)
    with torch.no_grad():
        state.restore()
    assert (weight.data_ptr(), weight.is_leaf, weight.requires_grad, weight.grad) == (place, True, True, None)
    assert torch.equal(weight, bits)
    assert not weight._backward_hooks


def test_an_own_gradient_and_own_hooks_come_back() -> None:
    weight = torch.ones(3, requires_grad=True)
    weight.grad = gradient = torch.arange(3.0)
    handle = weight.register_hook(torch.neg)
    state = TensorState(weight)
    weight.grad = None
    handle.remove()
    state.restore()
    assert weight.grad is gradient
    assert list((weight._backward_hooks or {}).values()) == [torch.neg]


def test_the_version_counter_comes_back() -> None:
    weight = torch.ones(3)
    state, version = TensorState(weight), weight._version
    weight.add_(1)
    assert weight._version == version + 1
    state.restore()
    assert weight._version == version


@pytest.mark.parametrize("size", [0, 1, 7, 8, 64])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
def test_bytes_of_a_storage_come_back_under_every_view(size: int, dtype: torch.dtype) -> None:
    values = torch.arange(size).to(dtype)
    other, saved = values.view(-1), values.clone()
    state = StorageState(values.untyped_storage())
    other.fill_(3)
    version = values._version
    state.restore()
    assert torch.equal(values, saved)
    assert values._version == version  # bytes are written without a new version


def test_nans_are_compared_as_bytes() -> None:
    values = torch.tensor([float("nan"), 1.0])
    state = StorageState(values.untyped_storage())
    values[0] = 2.0
    state.restore()
    assert torch.isnan(values[0])


@pytest.mark.parametrize("kind", [dict, Counter])
def test_a_dict_gets_its_items_and_their_order_again(kind: type[dict]) -> None:
    table = kind({"b": 1, "a": 2})
    saved = list(table.items())
    table["c"] = 3
    del table["b"]
    table["b"] = 1
    restore_dict(table, saved)
    assert list(table.items()) == [("b", 1), ("a", 2)]


def test_a_dict_that_has_not_changed_is_not_written_to() -> None:
    class Fixed(dict):
        def __setitem__(self, key: object, value: object) -> None:
            raise AssertionError

        clear = None

    table = Fixed(a=1)
    restore_dict(table, [("a", table["a"])])
    assert table == {"a": 1}
