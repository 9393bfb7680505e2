"""Pools of weight draws: S̄ of each seed and depth of a model, measured once, from which checks are resampled.

Axes: draw, depth.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from gate_parts.subjects import Subject

from ammup.arrays import Array
from ammup.errors import InputError
from ammup.measurement.depth_exponent import measure_depth_law
from ammup.measurement.specification import MeasurementSpec

DEPTHS = (2, 4, 8)
CORRECT = "correct"
BLOCK = 32  # draws of one record
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The weight draws of a model, or of the model with a fault.

    Attributes:
        S_bar: S̄ of each seed, (draw, depth); the seeds are 0, 1, …, and the depths are ``DEPTHS``.
        units: number of depth units at each depth.
        seconds: CPU time of one draw at all depths.
        error: why the model cannot be measured, or "".
    """

    S_bar: Array
    units: Mapping[int, int]
    seconds: float
    error: str = ""

    @property
    def size(self) -> int:
        """The number of draws."""
        return len(self.S_bar)


Pools = dict[str, dict[str, Pool]]  # by model and variant


def measure(path: Path, chosen: Mapping[str, Subject], wanted: Iterable[tuple[int, int]], minutes: float) -> None:
    """Append the draws that are missing to the file of records, until the time is over.

    Args:
        path: the file.
        chosen: the models.
        wanted: stages, each with the number of draws of a correct model and of a faulty one. A stage is finished for
            all models before the next one begins, so that an interrupted measurement has draws of each.
        minutes: the CPU time.
    """
    sizes, errors = _sizes(read(path))
    until = time.process_time() + 60 * minutes
    for correct, faulty in wanted:
        for name, subject in chosen.items():
            for variant, net in {CORRECT: subject.net, **subject.faults}.items():
                key = (name, variant)
                while sizes.get(key, 0) < (correct if variant == CORRECT else faulty) and key not in errors:
                    if time.process_time() > until:
                        return
                    record = _block(net, subject, sizes.get(key, 0))
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"model": name, "variant": variant, **record}) + "\n")
                    if "error" in record:
                        errors.add(key)
                    sizes[key] = sizes.get(key, 0) + BLOCK
                    click.echo(f"{name}, {variant}: {sizes[key]} draws, {record['seconds']:.1f} s", err=True)


def _block(net: Callable[..., Any], subject: Subject, first: int) -> Record:
    started = time.process_time()
    spec = MeasurementSpec(**subject.batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a faulty net may have no finite gradient
        try:
            law = measure_depth_law(net, DEPTHS, spec, seeds=range(first, first + BLOCK))
        except InputError as error:
            return {"first": first, "error": str(error), "seconds": time.process_time() - started}
    table = law.table.pivot(index="seed", columns="depth", values="S_bar")
    return {
        "first": first,
        "S_bar": {str(depth): table[depth].tolist() for depth in DEPTHS},
        "units": {str(depth): law.units[depth] for depth in DEPTHS},
        "seconds": time.process_time() - started,
    }


def _sizes(records: Iterable[Record]) -> tuple[dict[tuple[str, str], int], set[tuple[str, str]]]:
    """The number of draws of each variant, and the variants that cannot be measured."""
    sizes: dict[tuple[str, str], int] = {}
    errors = set()
    for record in records:
        key = (record["model"], record["variant"])
        sizes[key] = max(sizes.get(key, 0), record["first"] + BLOCK)
        if "error" in record:
            errors.add(key)
    return sizes, errors


def read(path: Path) -> list[Record]:
    """The finished records."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def pooled(records: Iterable[Record]) -> Pools:
    """The pools of the records."""
    blocks: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        blocks.setdefault((record["model"], record["variant"]), []).append(record)
    pools: Pools = {}
    for (model, variant), found in blocks.items():
        pools.setdefault(model, {})[variant] = _pool(sorted(found, key=lambda record: record["first"]))
    return pools


def _pool(blocks: list[Record]) -> Pool:
    """One pool of consecutive blocks; without draws if one of them cannot be measured, because no check can be."""
    seconds = float(np.median([block["seconds"] for block in blocks])) / BLOCK
    broken = next((block for block in blocks if "error" in block), None)
    if broken is not None:
        return Pool(S_bar=np.empty((0, len(DEPTHS))), units={}, seconds=seconds, error=broken["error"])
    assert [block["first"] for block in blocks] == [BLOCK * i for i in range(len(blocks))]
    rows = [np.stack([block["S_bar"][str(depth)] for depth in DEPTHS], axis=1) for block in blocks]
    units = {depth: blocks[0]["units"][str(depth)] for depth in DEPTHS}
    return Pool(S_bar=np.concatenate(rows), units=units, seconds=seconds)


def pack(pools: Pools, path: Path) -> None:
    """Store the pools in one compressed file: S̄ as float32, and a table of the rest as JSON."""
    arrays, index = {}, []
    for model, variant, pool in _all(pools):
        arrays[f"S{len(index)}"] = pool.S_bar.astype(np.float32)
        index.append(
            {
                "model": model,
                "variant": variant,
                "units": [pool.units[depth] for depth in DEPTHS] if pool.units else [],
                "seconds": float(f"{pool.seconds:.3g}"),
                "error": pool.error,
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, index=np.array(json.dumps(index, ensure_ascii=False)), **arrays)


def unpack(path: Path) -> Pools:
    """The pools of a file of :func:`pack`."""
    pools: Pools = {}
    with np.load(path, allow_pickle=False) as file:
        for i, row in enumerate(json.loads(str(file["index"]))):
            pools.setdefault(row["model"], {})[row["variant"]] = Pool(
                S_bar=file[f"S{i}"].astype(np.float64),
                units=dict(zip(DEPTHS, row["units"], strict=False)),
                seconds=row["seconds"],
                error=row["error"],
            )
    return pools


def _all(pools: Pools) -> Iterator[tuple[str, str, Pool]]:
    for model, variants in pools.items():
        for variant, pool in variants.items():
            yield model, variant, pool
