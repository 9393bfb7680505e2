"""Fuzzing of the file readers: for any damaged file, a reader returns a result or raises a one-line InputError.

Each example starts from a valid file, which is edited at random: bytes are changed, deleted, duplicated or replaced by
tokens that are difficult for parsers. In a store, values in the tables are changed as well. Files that failed earlier
are in corpus/ and are read first. The program runs without the run-time type checks of the tests, as for users, and
with warnings as errors.

    python tests/bad_input/fuzz.py --seconds 600 --random     # 600 seconds for each reader, other files in every run
    python tests/bad_input/fuzz.py --examples 300             # the same files in every run, as in the tests
"""

import argparse
import io
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

import ammup
from ammup.claims.baselines import parse
from ammup.errors import InputError
from ammup.experiments.analysis import law_of, read_sweep, regret_of, rule_curves
from ammup.experiments.experiment import Experiment
from ammup.experiments.files import read_experiments
from ammup.experiments.merge import merge
from ammup.experiments.record import SweepRecord
from ammup.experiments.status import status_of
from ammup.experiments.store import Store
from ammup.gate.depth_baseline import DepthBaseline
from ammup.report.ledger import claim_text, ledger_text

CORPUS = Path(__file__).with_name("corpus")
BASELINES = Path(__file__).parents[2] / "baselines"
EXPERIMENT = """name = "t"
model = {factory = "cnn", arguments = {width = 4}}
data = {source = "synthetic", image_size = 8, train = 64, validation = 32}
grid = {depths = [2, 3, 4], lrs = [0.01, 0.1, 1.0], seeds = 2}
training = {batch_size = 64}
strategy = "loop"
segments = [{anchors = [2, 3], predict = [4]}]
short_run = {lr = 0.1, steps = [0], seeds = 1, draws = 1}
[profiles.small]
grid = {seeds = 1}
[variants.gelu]
model = {arguments = {activation = "gelu"}}
"""
# Tokens that are difficult for parsers and for numbers.
TOKENS = [
    *(b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1" * 40, b"1e-400", b"null", b"true", b"NaN", b"Infinity"),
    *(b'""', b"[]", b"{}", b"[" * 2000, b'{"a":' * 2000, b'"', b"\\u0000", b"\x00", b"\xff\xfe", b"\n", b"=", b","),
    *(b"../..", b"__class__", b"<script>", b"'; DROP TABLE runs; --", "µ".encode(), b"2026-01-01", b"os:system"),
]


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        suffix: suffix of the file name.
        valid: creates valid files in a folder.
        read: reads a file.
        damage: edits the content of a file at random.
    """

    suffix: str
    valid: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    damage: Callable[[random.Random, bytes], bytes]


def edited(rng: random.Random, content: bytes) -> bytes:
    """The content after one to seven edits at random positions."""
    result = bytearray(content)
    for _ in range(1 + min(6, int(rng.expovariate(0.7)))):
        if not result:
            break
        at, length = rng.randrange(len(result) + 1), rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(6)
        if kind == 0:
            result[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del result[at : at + length]
        elif kind == 2:
            result[at:at] = result[at : at + length]
        elif kind == 3:
            result[at:at] = rng.choice(TOKENS)
        elif kind == 4:
            result[at : at + length] = rng.choice(TOKENS)
        elif rng.random() < 0.3:
            del result[at:]
    return bytes(result)


def edited_value(rng: random.Random, content: bytes) -> bytes:
    """JSON with one value replaced or deleted, or edited bytes."""
    if rng.random() < 0.3:
        return edited(rng, content)
    tree = json.loads(content)
    node = tree
    while isinstance(node, dict | list) and node:
        place = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if rng.random() < 0.3 or not isinstance(node[place], dict | list) or not node[place]:
            if rng.random() < 0.2:
                del node[place]
            else:
                node[place] = rng.choice(VALUES)
            break
        node = node[place]
    return json.dumps(tree).encode()


VALUES = [
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "\ud800",
]


def edited_table(rng: random.Random, content: bytes) -> bytes:
    """A store with some values in its tables replaced, or edited bytes."""
    if rng.random() < 0.4:
        return edited(rng, content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        path.write_bytes(content)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = OFF")
        for _ in range(rng.randrange(1, 4)):
            table = rng.choice(["experiments", "runs", "invocations", "workers", "measurements", "laws", "left_out"])
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            if not columns:
                continue  # dropped
            values = [None, -1, 0, 2**62, 1e308, float("inf"), "", "x", "[]", "{}", "[[1]]", b"\xff", "[" * 5000]
            try:
                if rng.random() < 0.1:
                    connection.execute(f"DROP TABLE {table}")
                else:
                    where = f"rowid % {rng.choice((1, 2, 3))} = 0"
                    connection.execute(
                        f"UPDATE {table} SET {rng.choice(columns)} = ? WHERE {where}", [rng.choice(values)]
                    )
            except sqlite3.Error:
                continue  # the constraints of the table reject the value
        connection.close()
        return path.read_bytes()


def edited_arrays(rng: random.Random, content: bytes) -> bytes:
    """A valid archive with an array of another dtype, shape or name, or edited bytes."""
    if rng.random() < 0.5:
        return edited(rng, content)
    with np.load(io.BytesIO(content)) as arrays:
        changed = {name: arrays[name] for name in arrays}
    name = rng.choice(list(changed))
    change = rng.randrange(6)
    if change == 0:
        changed[name] = changed[name].astype(rng.choice(["f4", "i1", "U3", "c8", "?", "u8", "M8[s]"]))
    elif change == 1:
        changed[name] = changed[name].reshape(rng.choice([(-1,), (1, -1), (-1, 1, 1)]))
    elif change == 2:
        changed[name] = changed[name][: rng.randrange(3)]
    elif change == 3:
        del changed[name]
    elif change == 4:
        changed[rng.choice(["val_images", "extra", "../x"])] = changed[name]
    else:
        changed[name] = changed[name] - 1
    file = io.BytesIO()
    np.savez(file, **changed)
    return file.getvalue()


def read_toml(path: Path) -> None:
    for profile in (None, "small"):
        for experiment in read_experiments(path, profile=profile):
            assert Experiment.from_toml(experiment.to_toml()).key == experiment.key
            assert len(list(islice(experiment.cells(), 5)))


def read_record(path: Path) -> None:
    record = SweepRecord.read(path)
    law_of(record)
    rule_curves(record)
    regret_of(record)


def read_baseline(path: Path) -> None:
    records = [record.to_dict() for record in parse(path.read_bytes(), path.name).values()]
    ledger_text(records)
    for record in records:
        claim_text(record)


def read_store(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    record = read_sweep(path)
    law_of(record)
    with Store(path, mode="read") as store:
        for stored in store.experiments():
            status_of(Experiment.from_toml(stored.specification), store.table(stored.key), store.left_out(stored.key))
            store.curves(stored.key)
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "new.db", mode="write") as new:
            merge(new, store)


def valid_store(folder: Path) -> list[bytes]:
    """The store of a finished sweep."""
    path = folder / "valid.db"
    experiment = Experiment.from_toml(EXPERIMENT.split("[profiles")[0])
    ammup.run_sweep(experiment, store=path, workers=1, progress=False)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return [path.read_bytes()]


def valid_record(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((BASELINES / "sweeps").glob("cnn-relu*.json"))]


def valid_arrays(_folder: Path) -> list[bytes]:
    images, labels = np.arange(8 * 64 * 3, dtype=np.uint8).reshape(8, 8, 8, 3), np.arange(8) % 2
    archives = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
        archives.append(file.getvalue())
    return archives


def valid_depth_baseline(folder: Path) -> list[bytes]:
    """The baseline of a checked model."""
    from click.testing import CliRunner

    from ammup.cli import cli

    path = folder / "depth.json"
    # CI services set CI, and then only --record writes a baseline that does not exist yet.
    arguments = "check mlp --depths 2,3 --set width=4 --seeds 2 --image-size 4 --batch-size 4 --record --baseline"
    CliRunner().invoke(cli, [*arguments.split(), str(path)], catch_exceptions=False)
    return [path.read_bytes()]


READERS = {
    "experiment": Reader(".toml", lambda _: [EXPERIMENT.encode()], read_toml, edited),
    "arrays": Reader(".npz", valid_arrays, lambda path: ammup.load_data(path, image_size=4).batch(1), edited_arrays),
    "baseline": Reader(
        ".json",
        lambda _: [(BASELINES / "overlap.json").read_bytes()],
        read_baseline,
        edited_value,
    ),
    "depth-baseline": Reader(".json", valid_depth_baseline, DepthBaseline.read, edited_value),
    "record": Reader(".json", valid_record, read_record, edited_value),
    "store": Reader(".db", valid_store, read_store, edited_table),
}


def outcome(reader: Reader, path: Path) -> str:
    """ "read", "rejected" or a description of the failure."""
    try:
        reader.read(path)
    except InputError as error:
        return "rejected" if "\n" not in str(error) else f"an InputError of several lines: {error!r}"
    except Exception:  # the failures that fuzzing searches for
        return "".join(traceback.format_exc().splitlines(keepends=True)[-6:])  # the last lines suffice for a recursion
    return "read"


def fuzz(name: str, *, examples: int | None, seconds: float | None, seed: int) -> list[str]:
    """Descriptions of the failures, whose files are added to corpus/."""
    reader, rng, counted, failures = READERS[name], random.Random(seed), Counter[str](), list[str]()
    end = time.monotonic() + (seconds or float("inf"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["AMMUP_CACHE"] = str(folder / "cache")
        path = folder / f"file{reader.suffix}"
        valid = reader.valid(folder)
        corpus = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
        for content in valid:
            path.write_bytes(content)
            if (result := outcome(reader, path)) != "read":
                failures.append(f"a valid file: {result}")
        for file in corpus:
            path.write_bytes(file.read_bytes())
            counted["corpus"] += 1
            if (result := outcome(reader, path)) not in ("read", "rejected"):
                failures.append(f"{file}\n{result}")
        tried = 0
        while (examples is None or tried < examples) and time.monotonic() < end and len(failures) < 5:
            tried += 1
            content = reader.damage(rng, rng.choice(valid))
            path.write_bytes(content)
            result = outcome(reader, path)
            counted[result if result in ("read", "rejected") else "failed"] += 1
            if result not in ("read", "rejected"):
                saved_as = CORPUS / name / f"{abs(hash(content)) % 16**8:08x}{reader.suffix}"
                saved_as.parent.mkdir(parents=True, exist_ok=True)
                saved_as.write_bytes(content)
                failures.append(f"{saved_as}\n{result}")
    print(f"{name}: {tried} files; {dict(counted)}", flush=True)
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"{', '.join(READERS)}; default: all")
    parser.add_argument("--examples", type=int, help="number of files for each reader")
    parser.add_argument("--seconds", type=float, help="time for each reader")
    parser.add_argument("--random", action="store_true", help="other files in every run")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    seed = random.randrange(2**32) if arguments.random else 0
    failed = False
    for name in arguments.readers or READERS:
        for failure in fuzz(name, examples=arguments.examples, seconds=arguments.seconds, seed=seed):
            failed = True
            print(f"{name}: {failure}", file=sys.stderr, flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
