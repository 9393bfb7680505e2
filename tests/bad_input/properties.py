"""Properties of the public functions and the command line for any input: a result without NaN, or a one-line error.

This is a program, so that it runs without the run-time type checks of the tests, as for users.

    python tests/bad_input/properties.py --examples 60
"""

import argparse
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import ammup
from ammup.cli import cli
from ammup.errors import InputError
from ammup.experiments.experiment import Experiment
from ammup.training.runs import check_grid

INTEGERS = st.integers(-2, 6)
FLOATS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from(
    [0.0, -1.0, 1e-300, 1e300, math.nan, math.inf]
)
NAMES = st.text(max_size=8) | st.sampled_from(
    ["relu", "gelu", "linear", "circular", "zero", "he", "paper", "pool", "field"]
)
ANYTHING = st.none() | st.booleans() | INTEGERS | FLOATS | NAMES | st.lists(INTEGERS | FLOATS, max_size=3)


def result_or_none(call: Callable[[], Any]) -> Any:
    """The result of the call, or None if it raises a one-line InputError."""
    try:
        return call()
    except InputError as error:
        message = str(error)
    assert message, "no message"
    assert "\n" not in message, message
    return None


@given(st.lists(ANYTHING, max_size=6), st.lists(ANYTHING, max_size=6), FLOATS)
def power_laws(depths: list[Any], values: list[Any], level: float) -> None:
    fit = result_or_none(lambda: ammup.fit_power_law(depths, values, level=level))
    if fit is not None:
        assert math.isfinite(fit.slope), (depths, values)
        assert math.isfinite(fit.intercept)


@given(FLOATS, ANYTHING, ANYTHING, NAMES | st.sampled_from(["constant", "L^-1/2", "L^-1", "am-mup"]))
def transfers(lr: float, before: Any, after: Any, rule: str) -> None:
    transferred = result_or_none(lambda: ammup.transfer_lr(lr, before, after, rule=rule))
    if transferred is not None:
        assert 0 < transferred < math.inf


ARGUMENTS = {
    **dict.fromkeys(("dims", "groups", "dilation", "in_channels", "out_channels", "in_features"), INTEGERS),
    **dict.fromkeys(("padding", "activation", "gain", "readout", "head", "scaled"), NAMES),
    **dict.fromkeys(("c", "dropout"), FLOATS),
    "kernel": INTEGERS | st.lists(st.tuples(INTEGERS, INTEGERS), max_size=3) | NAMES,
    "branch": INTEGERS | st.lists(NAMES, max_size=2),
    "projections": st.lists(INTEGERS),
    "batchnorm": st.booleans(),
    "seed": INTEGERS | st.none(),
}


@given(
    st.sampled_from([ammup.mlp, ammup.cnn, ammup.resnet]),
    INTEGERS,
    st.fixed_dictionaries({"width": INTEGERS}, optional=ARGUMENTS),
)
def families(family: Callable[..., nn.Module], depth: int, arguments: dict[str, Any]) -> None:
    try:
        net = result_or_none(lambda: family(depth, **arguments))
    except TypeError as error:
        assert "unexpected keyword argument" in str(error), error  # noqa: PT017  (raised by Python for an unknown argument)
        return
    if net is not None:
        assert all(bool(p.isfinite().all()) for p in net.parameters())


TENSORS = st.builds(
    lambda shape, dtype, fill: torch.full(shape, fill).to(dtype),
    st.lists(st.integers(0, 9), max_size=5),
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64]),
    st.sampled_from([0.0, 1.0, -1.0, 3.0, 1e30, math.nan, math.inf]),
)


@given(
    TENSORS,
    TENSORS | st.none(),
    NAMES | st.sampled_from(["cross_entropy", "mse"]),
    st.sampled_from(["total", "label", "x"]),
)
def measurements(inputs: torch.Tensor, targets: torch.Tensor | None, loss: str, part: str) -> None:
    net = ammup.cnn(2, width=4)
    before = [p.clone() for p in net.parameters()]
    moments = result_or_none(lambda: ammup.measure_updates(net, inputs, targets, loss=loss, part=part))
    if moments is not None:
        assert np.isfinite(moments.S).all()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


@given(st.lists(ANYTHING, max_size=4), st.lists(ANYTHING, max_size=3))
def grids(lrs: list[Any], seeds: list[Any]) -> None:
    result_or_none(lambda: check_grid(lrs, seeds))


TABLES = st.dictionaries(
    st.sampled_from(["factory", "source", "depths", "lrs", "seeds", "dtype", "points", "low"]), ANYTHING
)
CONTENTS = st.sampled_from(["name", "model", "data", "grid", "training", "strategy", "search", "x"])


@given(st.dictionaries(CONTENTS, ANYTHING | TABLES))
def experiments(content: dict[str, Any]) -> None:
    valid = {"name": "t", "model": {"factory": "cnn"}, "data": {"source": "synthetic"}, "grid": {"depths": [2, 3]}}
    for tables in (content, {**valid, **content}):
        experiment = result_or_none(lambda tables=tables: Experiment.from_dict(tables))
        if experiment is not None:
            assert Experiment.from_toml(experiment.to_toml()).key == experiment.key


COLUMNS = ("depth", "lr", "seed", "val_accuracy", "diverged")


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, ANYTHING)), max_size=6), st.sets(st.sampled_from(COLUMNS)))
def sweeps(rows: list[dict[str, Any]], dropped: set[str]) -> None:
    table = pd.DataFrame(rows).drop(columns=[name for name in dropped if rows and name in rows[0]])
    law = result_or_none(lambda: ammup.fit_sweep(table))
    if law is not None:
        assert all(math.isfinite(optimum.smoothed) and optimum.smoothed > 0 for optimum in law.optima.values())


ARRAYS = st.builds(
    lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from(["u1", "i1", "i8", "f4", "?", "U2"]),
    st.integers(0, 100),
)


@given(
    st.dictionaries(st.sampled_from(["train_images", "train_labels", "val_images", "val_labels", "x"]), ARRAYS),
    INTEGERS | st.none(),
)
def archives(arrays: dict[str, np.ndarray], image_size: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        os.environ["AMMUP_CACHE"] = f"{folder}/cache"
        np.savez(f"{folder}/x.npz", **arrays)
        data = result_or_none(lambda: ammup.load_data(f"{folder}/x.npz", image_size=image_size))
        if data is not None:
            assert len(data.train_images) == len(data.train_labels) > 0


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6) | st.sampled_from(
    [
        "1",
        "0",
        "-1",
        "2,3",
        "nan",
        "1e9",
        "cnn",
        "mlp",
        "width=4",
        "width=-1",
        "/nope",
        ".",
        "grid.seeds=x",
        "os:getcwd",
    ]
)
OPTIONS = {
    "depth": ["--depths", "--set", "--convention", "--json"],
    "fit": ["--experiment", "--optimum", "--export", "--base", "--figure", "--against", "--json"],
    "sweep": ["--store", "--set", "--profile", "--variant", "--status", "--dry-run", "--workers", "--merge", "--list"],
    "report": ["-o", "--json"],
    "claims": ["--id", "--json", "--seed-root"],
    "baselines": ["diff", "--id"],
    "transfer": ["--lr", "--from", "--to", "--rule", "--set", "--image-size"],
}
FLAGS = {"--json", "--status", "--dry-run", "--list"}


@given(
    st.sampled_from(list(OPTIONS)),
    st.lists(st.tuples(st.integers(0, 8), WORDS), max_size=4),
    st.lists(WORDS, max_size=2),
)
def commands(verb: str, options: list[tuple[int, str]], words: list[str]) -> None:
    arguments = [verb, *words]
    for place, word in options:
        option = OPTIONS[verb][place % len(OPTIONS[verb])]
        arguments += [option] if option in FLAGS else [option, word]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        result = CliRunner().invoke(cli, arguments)
        os.chdir("/")
    assert result.exit_code in (0, 1, 2), (arguments, result.output)
    assert "Traceback" not in result.output, (arguments, result.output)


PROPERTIES = (power_laws, transfers, families, measurements, grids, experiments, sweeps, archives, commands)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=60)
    parser.add_argument("--random", action="store_true", help="other inputs in every run")
    given_ = parser.parse_args()
    os.chdir(Path(tempfile.mkdtemp()))
    failed = False
    for test in PROPERTIES:
        configured = settings(
            max_examples=given_.examples,
            deadline=None,
            database=None,
            derandomize=not given_.random,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )(test)
        try:
            configured()
        except BaseException as error:  # the other properties still run
            failed = True
            import traceback

            traceback.print_exc()
            print(f"{test.__name__}: {error!r}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
