"""Real checks of the gate, and the synthetic ones from the draws of the same seeds in the pools."""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gate_parts.pools import CORRECT, DEPTHS, Pool
from gate_parts.subjects import Subject
from gate_parts.synthetic import INVALID, Outcome, Rows, compare, record

import ammup
from ammup.errors import InputError
from ammup.gate.allowed import Allowed


class Named:
    """A factory with the same name for correct and faulty models, because the name is part of the baseline."""

    __qualname__ = __name__ = "make_net"

    def __init__(self, net: Callable[..., Any]) -> None:
        self.net = net
        self.__wrapped__ = net  # its signature states whether it takes a seed

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """The model."""
        return self.net(*arguments, **options)


def check(net: Callable[..., Any], subject: Subject, allowed: Allowed, path: Path, *, seed_root: int = 0) -> Outcome:
    """A real check of a model against the baseline in a file, which is recorded if it does not exist."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a faulty net may have no finite gradient; the outcome is what counts
        try:
            result = ammup.check_depth_exponent(
                Named(net),
                DEPTHS,
                **subject.batch,
                margin=allowed.margin,
                level=allowed.level,
                baseline=path,
                record=not path.exists(),
                seed_root=seed_root,
            )
        except InputError:
            return Outcome(outcome=INVALID, draws=0, slope=float("nan"))
    return Outcome(outcome=result.outcome, draws=result.draws, slope=result.law.power_law.slope)


def compared(name: str, subject: Subject, variants: Mapping[str, Pool], allowed: Allowed) -> Iterator[dict[str, Any]]:
    """A recording, a check of the correct model and of each fault: real, and from the pools with the same seeds."""
    correct = variants[CORRECT]
    in_order = np.arange(correct.size)
    stored, recorded = record(Rows(pool=correct, order=in_order, root=0), allowed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "baseline.json"
        for variant, pool in {"recording": correct, **variants}.items():
            if pool.error or pool.size < recorded.draws:
                continue
            net = subject.faults.get(variant, subject.net)
            started = time.process_time()
            found = check(net, subject, allowed, path)
            seconds = time.process_time() - started
            rows = Rows(pool=pool, order=in_order[: pool.size], root=0)
            expected = recorded if variant == "recording" else compare(rows, allowed, stored)
            yield {
                "model": name,
                "check": variant,
                "real": found.outcome,
                "synthetic": expected.outcome,
                "draws": f"{found.draws}, {expected.draws}",
                "slope": f"{found.slope:.4f}, {expected.slope:.4f}",
                "CPU seconds": f"{seconds:.1f}",
            }
