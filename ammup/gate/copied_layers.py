"""Whether layers of a net have equal weights, because they are shared, copied, or drawn from the same seed."""

import torch
from torch import nn

from ammup.models.factory import Factory, build_model


def has_copied_layers(
    factory: Factory, depths: tuple[int, int], *, seed: int, device: torch.device | str | None
) -> bool:
    """Whether a deeper net has more layers whose weights equal those of another layer than a shallower net.

    Weights that are equal at every depth, such as an embedding tied to the readout, do not count. Only weights with at
    least two axes and different values count, because norms start with equal ones.
    """
    shallow, deep = (_equal_weights(build_model(factory, depth, seed, device)) for depth in depths)
    return deep > shallow


def _equal_weights(model: nn.Module) -> int:
    """The number of weights that equal a preceding one."""
    seen: dict[tuple[object, ...], list[torch.Tensor]] = {}
    count = 0
    for _, weight in model.named_parameters(remove_duplicate=False):
        if weight.dim() < 2 or weight.numel() < 2 or bool((weight == weight.flatten()[0]).all()):
            continue
        w = weight.detach()
        # Equal weights have equal sums, so that few pairs must be compared.
        same = seen.setdefault((w.shape, w.dtype, float(w.double().sum())), [])
        if any(torch.equal(w, other) for other in same):
            count += 1
        same.append(w)
    return count
