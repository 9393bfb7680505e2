"""Augmentation by transforms of torchvision that the training settings name.

Axes: C channel, H and W position.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ammup.errors import InputError
from ammup.training.components import Component
from ammup.training.optimization import find_class

Transform = Callable[[Tensor], Tensor]


def build_augmentation(components: Sequence[Component] | None) -> Transform | None:
    """The transforms (C, H, W) -> (C, H, W) of one image, one after another; None without any.

    Raises:
        InputError: a name is unknown, or the class rejects its arguments or transforms batches.
    """
    if not components:
        return None
    from torchvision.transforms import v2

    transforms = [_transform(component, v2) for component in components]
    return v2.Compose(transforms) if len(transforms) > 1 else transforms[0]


def _transform(component: Component, module: Any) -> Transform:
    kind = find_class("augmentation", component, module, nn.Module)
    if issubclass(kind, module.MixUp | module.CutMix):
        raise InputError(f"augmentation {component.name} mixes the labels of a batch; use transforms of single images")
    try:
        return kind(**component.arguments)
    except (TypeError, ValueError) as error:
        given = dict(component.arguments)
        raise InputError(f"augmentation {component.name} rejects the arguments {given}: {error}") from error
