"""Gradients of the weights by ordinary backward passes, with the same hooks and checkpoints as in training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

Weights = dict[str, Tensor]


def weight_gradients(
    roots: Sequence[tuple[Tensor, Tensor | None]], weights: Weights, *, accumulate: bool, keep_graph: bool = False
) -> list[Weights]:
    """The gradients of all weights for each pair of an output and the residual that it is multiplied by.

    Args:
        roots: pairs of an output and its residual; None for a scalar output.
        weights: leaf tensors by name. A weight that is frozen or not in the graph has a gradient of zeros.
        accumulate: accumulate the gradients in ``w.grad``. This is always done if a weight has a hook on the
            accumulation.
        keep_graph: keep the graph for another call.
    """
    unfrozen = {name: w for name, w in weights.items() if w.requires_grad}
    leaves = list(unfrozen.values())
    accumulate = accumulate or any(w._post_accumulate_grad_hooks for w in leaves)
    results = []
    for number, (output, row) in enumerate(roots):
        retain_graph = keep_graph or number < len(roots) - 1
        gradients: Sequence[Tensor | None]
        if accumulate:
            gradients = _accumulated_gradients(output, row, leaves, retain_graph=retain_graph)
        else:
            gradients = torch.autograd.grad(output, leaves, row, retain_graph=retain_graph, allow_unused=True)
        by_name = dict(zip(unfrozen, gradients, strict=True))
        results.append({name: _to_dense(by_name.get(name), w) for name, w in weights.items()})
    return results


def has_reentrant_checkpoints(outputs: Any) -> bool:
    """Whether the graph has reentrant checkpoints, for which gradients must be accumulated in ``w.grad``."""
    pending = [leaf.grad_fn for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    visited: set[Any] = set()
    while pending:
        node = pending.pop()
        if node is None or node in visited:
            continue
        if node.name() == "CheckpointFunctionBackward":
            return True
        visited.add(node)
        pending += [parent for parent, _ in node.next_functions]
    return False


def _accumulated_gradients(
    output: Tensor, row: Tensor | None, weights: Sequence[Tensor], *, retain_graph: bool
) -> list[Tensor | None]:
    """The gradients that a backward pass accumulates in ``w.grad``, including the changes by hooks."""
    for w in weights:
        w.grad = None
    torch.autograd.backward([output], None if row is None else [row], retain_graph=retain_graph)
    gradients = [w.grad for w in weights]
    for w in weights:
        w.grad = None
    return gradients


def _to_dense(gradient: Tensor | None, weight: Tensor) -> Tensor:
    """A gradient of any layout as a dense tensor; zeros if the weight has no gradient."""
    if gradient is None:
        return torch.zeros_like(weight).detach()
    return (gradient.to_dense() if gradient.is_sparse else gradient).detach()
