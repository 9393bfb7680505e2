"""Temporary replacement of a model's parameters and buffers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from torch import Tensor, nn


@contextmanager
def substituted(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Replace parameters and buffers by name in the context, under every name by which they are registered.

    ``torch.func.functional_call`` is not used, because it does not restore a tensor that is registered under two names.

    Args:
        model: the module.
        tensors: names as in ``named_parameters`` and ``named_buffers``.
    """
    named = dict((*model.named_parameters(), *model.named_buffers()))
    replacements = {id(named[name]): tensor for name, tensor in tensors.items()}
    places: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if id(tensor) in replacements and tensor is not None:
                    places.append((cast(dict[str, Tensor | None], table), name, tensor))
    for table, name, original in places:
        table[name] = replacements[id(original)]
    try:
        yield
    finally:
        for table, name, original in places:
            table[name] = original
