"""The devices that models run on."""

import torch

from ammup.errors import InputError


def default_device() -> str:
    """CUDA where there is a device, the CPU otherwise."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_device(name: torch.device | str) -> torch.device:
    """The device of this name.

    Raises:
        InputError: there is none, or none that works.
    """
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise InputError(f"device {str(name)!r} cannot be used: {str(error).splitlines()[0]}") from error
