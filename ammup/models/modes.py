"""The modes of torch in which models are run, independently of the modes that the caller has entered."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def default_modes() -> Iterator[None]:
    """Leave inference mode, which records no gradients, and autocast, whose precision is too low for small steps.

    An autocast that the model itself enters is unaffected.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for device in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
