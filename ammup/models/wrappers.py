"""Modules that wrap another one to train it on several devices."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ammup.errors import InputError

PREFIX = "module."  # a wrapper adds it to the names of the modules and parameters inside it


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside of DataParallel or DistributedDataParallel; other modules are returned unchanged.

    One process can run this module alone. The forward of the wrapper broadcasts buffers and waits for the other ranks.

    Raises:
        InputError: SyncBatchNorm in training mode, whose own forward needs all ranks.
    """
    while isinstance(model, DataParallel | DistributedDataParallel):
        model = model.module
    for name, module in model.named_modules():
        if isinstance(module, nn.SyncBatchNorm) and module.training:
            raise InputError(
                f"module {name!r} is SyncBatchNorm, whose forward waits for all ranks; measure a copy of the model "
                "with BatchNorm, or in eval mode"
            )
    return model


def inner_name(name: str) -> str:
    """The name of a unit or a parameter without the prefixes of wrappers."""
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name
