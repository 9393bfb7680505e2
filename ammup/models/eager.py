"""Run models without compiled code and without the weights that autocast has cached in earlier forwards."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def run_eagerly() -> Iterator[None]:
    """Run modules and functions from torch.compile without compilation, and autocast without cached casts.

    Autocast caches the cast weights until the outermost autocast context ends, which may be a context of the caller. So
    the cache is cleared at the beginning of this context, because the weights may have changed, and at its end.
    """
    torch.clear_autocast_cache()
    try:
        # The import of torch's compiler takes more than a second. Without it, nothing can have been compiled.
        with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
            yield
    finally:
        torch.clear_autocast_cache()
