"""The file of unfinished and finished short runs, from which a killed measurement continues."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ammup.atomic import replacing, write_atomically
from ammup.errors import InputError
from ammup.validation import Number, VersionedModel, parse_versioned

REMEDY = "give another file, or delete this one"


class _Run(VersionedModel):
    """One run: S̄ by step, null where it could not be measured any more."""

    depth: int
    seed: int
    weights: str
    S_bar: dict[str, Number | None]


class _Content(VersionedModel):
    settings: dict[str, str]
    runs: list[_Run]


@dataclass(kw_only=True)
class LateState:
    """S̄ of the short runs so far, in memory and, with a path, in a file that is replaced atomically.

    The weights of the unfinished run are in a second file, ``<path>.weights``, which is deleted when all runs are done.

    Attributes:
        path: the file; None keeps the runs in memory only.
        settings: what all runs have in common; a file with others is rejected.
        runs: (depth, seed) -> (digest of the initial weights, S̄ by step).
    """

    path: Path | None
    settings: Mapping[str, str]
    runs: dict[tuple[int, int], tuple[str, dict[int, float]]] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path | None, settings: Mapping[str, str]) -> "LateState":
        """The state in the file, or an empty one if there is no file.

        Raises:
            InputError: the file cannot be read, is not a state, or has other settings.
        """
        state = cls(path=path, settings=dict(settings))
        if path is None or not path.exists():
            return state
        content = parse_versioned(
            _Content, path.read_bytes(), name=str(path), what="a state file of short runs", remedy=REMEDY
        )
        for name, value in state.settings.items():
            if content.settings.get(name) != value:
                stored = content.settings.get(name)
                raise InputError(f"{path} contains short runs with {name}={stored}, not {value}; {REMEDY}")
        for run in content.runs:
            S_bar = {int(step): math.inf if s is None else float(s) for step, s in run.S_bar.items()}
            state.runs[run.depth, run.seed] = (run.weights, S_bar)
        return state

    def measured(self, key: tuple[int, int], weights: str) -> dict[int, float]:
        """S̄ by step of the run so far.

        Raises:
            InputError: the run in the file started from other weights.
        """
        stored, S_bar = self.runs.get(key, (weights, {}))
        if stored != weights:
            raise InputError(
                f"{self.path} contains a short run of other weights at depth {key[0]}, seed {key[1]}: the factory has "
                f"changed; {REMEDY}"
            )
        return dict(S_bar)

    def record(self, key: tuple[int, int], weights: str, S_bar: Mapping[int, float]) -> None:
        """Store S̄ of a run so far."""
        self.runs[key] = (weights, dict(S_bar))
        if self.path is None:
            return
        runs = [
            _Run(
                schema_version=1,
                depth=depth,
                seed=seed,
                weights=digest,
                S_bar={str(step): s if math.isfinite(s) else None for step, s in values.items()},
            )
            for (depth, seed), (digest, values) in self.runs.items()
        ]
        content = _Content(schema_version=1, settings=dict(self.settings), runs=runs)
        write_atomically(self.path, content.model_dump_json(indent=1))

    def save_weights(self, key: tuple[int, int], step: int, weights: Mapping[str, Tensor]) -> None:
        """Store the weights of the unfinished run before a step."""
        if self.path is not None:
            with replacing(self._weights) as temporary:
                torch.save({"key": list(key), "step": step, "weights": dict(weights)}, temporary)

    def load_weights(self, key: tuple[int, int]) -> tuple[int, Mapping[str, Tensor]] | None:
        """The step and the weights of the unfinished run with this key, or None."""
        if self.path is None or not self._weights.exists():
            return None
        try:
            stored = torch.load(self._weights, weights_only=True, map_location="cpu")
            found = tuple(stored["key"]), int(stored["step"]), dict(stored["weights"])
        except Exception:  # a damaged file only costs the steps of one run
            return None
        return found[1:] if found[0] == key else None

    def finish(self) -> None:
        """Delete the weights of the unfinished run."""
        if self.path is not None:
            self._weights.unlink(missing_ok=True)

    @property
    def _weights(self) -> Path:
        assert self.path is not None
        return self.path.with_name(f"{self.path.name}.weights")
