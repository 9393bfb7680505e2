"""Running compiled models without compilation, so that all their modules and functions can be observed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def run_eagerly() -> Iterator[None]:
    """Run modules and functions from torch.compile without compilation in the context."""
    # The import of torch's compiler takes more than a second. Without it, nothing can have been compiled.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    import torch

    with torch.compiler.set_stance("force_eager"):
        yield
