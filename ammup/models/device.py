"""The devices that models run on."""

import torch

from ammup.errors import InputError


def default_device() -> str:
    """Name of the default device: "cuda" if it is available, otherwise "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_device(name: torch.device | str) -> torch.device:
    """The device of this name.

    Raises:
        InputError: there is no such device, or it does not work.
    """
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise InputError(f"device {str(name)!r} cannot be used: {str(error).splitlines()[0]}") from error
