"""Every classification builder of torchvision, with random weights, in training mode."""

import torch
import torchvision
from torch import nn
from torchvision.models import get_model, list_models

from zoo_parts.case import Group, Problem

SIDE, BATCH, CLASSES = 64, 4, 4
# Builders whose image size is fixed by an argument, and those that cannot take small images.
OPTIONS: dict[str, dict[str, object]] = {
    **{name: {"image_size": SIDE} for name in ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32")},
    "vit_h_14": {"image_size": 56},
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
SIDES = {"vit_h_14": 56, "maxvit_t": 224, "inception_v3": 96, "alexnet": 96}


def groups() -> list[Group]:
    """One group of all builders."""
    group = Group("torchvision", rebuild=False)
    for name in list_models(module=torchvision.models):
        group.add(name, image_problem, name)
    return [group]


def image_problem(name: str) -> Problem:
    """The builder's model on a few small images."""
    options = OPTIONS.get(name, {})
    model = get_model(name, weights=None, num_classes=CLASSES, **options).train()
    draw_zero_heads(model)
    side = SIDES.get(name, SIDE)
    inputs = torch.randn(BATCH, 3, side, side, generator=torch.Generator().manual_seed(0))
    return Problem(model=model, inputs=inputs, targets=torch.arange(BATCH) % CLASSES)


def draw_zero_heads(model: nn.Module) -> None:
    """Draw linear layers of zeros (vision transformers): their first step would move the readout alone."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.detach().any():
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
