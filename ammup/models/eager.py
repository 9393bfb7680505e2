"""Running models without what torch keeps of earlier forwards: compiled code and casts of the weights."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def run_eagerly() -> Iterator[None]:
    """Run modules and functions from torch.compile without compilation, and autocast without cached casts.

    The weights that autocast has cast are cached until the outermost autocast ends, which may be a context of the
    caller. They are cleared before a forward at other weights, and after it.
    """
    torch.clear_autocast_cache()
    try:
        # The import of torch's compiler takes more than a second. Without it, nothing can have been compiled.
        with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
            yield
    finally:
        torch.clear_autocast_cache()
