"""Compiled models run by Python, so that every module and function of theirs can be observed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def run_eagerly() -> Iterator[None]:
    """What torch.compile has compiled runs uncompiled inside.

    Nothing can have been compiled where torch's compiler was not imported, which takes more than a second.
    """
    if "torch._dynamo" not in sys.modules:
        yield
        return
    import torch

    with torch.compiler.set_stance("force_eager"):
        yield
