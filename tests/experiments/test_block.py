"""Blocks of cells, run in this process."""

import pytest

from ammup.errors import InputError
from ammup.experiments.block import Block, WorkerContext, run_block, this_worker, translate_errors
from ammup.experiments.experiment import Experiment

BLOCK = {"depth": 2, "seed": 1, "lrs": (0.03, 1e30), "device": "cpu"}


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_a_block_returns_the_runs_of_its_replicas(small: Experiment, strategy: str) -> None:
    outcome = run_block(Block(specification=small.to_toml(), strategy=strategy, **BLOCK))
    assert [(run.depth, run.seed, run.lr, run.diverged) for run in outcome.runs] == [
        (2, 1, 0.03, False),
        (2, 1, 1e30, True),
    ]
    context = WorkerContext(small, "cpu")
    assert outcome.data_digest == context.data.digest
    assert outcome.worker == this_worker("cpu")
    assert outcome.left_out == ()


def test_an_error_of_the_model_names_the_cells(small: Experiment) -> None:
    block = Block(specification=small.to_toml(), strategy="loop", **BLOCK)

    def failing() -> None:
        with translate_errors(block):
            raise ZeroDivisionError("in forward")

    with pytest.raises(InputError, match=r"depth 2, seed 1, learning rates 0\.03, 1e\+30: ZeroDivisionError: in forw"):
        failing()
