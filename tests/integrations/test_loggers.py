"""`UpdateLogger(log=...)` with real loggers and trainers. Oracle: what they read back, and training without it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import ammup
from ammup import InputError
from ammup.integrations.loggers import to_csv, to_mlflow, to_tensorboard
from ammup.measurement.logger import MeasurementWarning

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 12, generator=GENERATOR), torch.randint(0, 4, (24,), generator=GENERATOR)
VALUES = ("lr", "S_bar", "S_bar_at_lr", "lr_star")


def _net() -> torch.nn.Module:
    return ammup.mlp(2, width=16, in_features=12, out_features=4, readout="he", seed=0)


def _logged(log: Any) -> pd.DataFrame:
    """Train with a logger, and return its table."""
    net = _net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    logger = ammup.UpdateLogger(net, every=2, loss="cross_entropy", optimizer=optimizer, log=log)
    for step in range(5):
        optimizer.zero_grad()
        F.cross_entropy(net(X), Y).backward()
        logger(step, X, Y)
        optimizer.step()
    return logger.table


def test_a_function_receives_every_measurement() -> None:
    received: list[tuple[dict[str, float], int]] = []
    table = _logged(lambda values, step: received.append((values, step)))
    assert [step for _, step in received] == [0, 2, 4]
    for (values, _), row in zip(received, table.to_dict("records"), strict=True):
        assert values == {f"ammup/{name}": row[name] for name in VALUES}


def test_a_csv_file_has_one_row_for_each_measurement(tmp_path: Path) -> None:
    table = _logged(to_csv(tmp_path / "updates.csv"))
    read = pd.read_csv(tmp_path / "updates.csv")
    assert read["step"].tolist() == [0, 2, 4]
    for name in VALUES:
        assert read[f"ammup/{name}"].tolist() == table[name].tolist()
    _logged(to_csv(tmp_path / "updates.csv"))  # a second run appends
    assert len(pd.read_csv(tmp_path / "updates.csv")) == 6
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.warns(MeasurementWarning, match=r"pass on the measurement of step 0: log raised .*columns a, b"):
        assert _logged(to_csv(tmp_path / "other.csv"))["S_bar"].notna().all()


def test_tensorboard_reads_the_measurements(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        table = _logged(to_tensorboard(writer))
    events = EventAccumulator(str(tmp_path)).Reload()
    for name in VALUES:
        scalars = events.Scalars(f"ammup/{name}")
        assert [scalar.step for scalar in scalars] == [0, 2, 4]
        assert [scalar.value for scalar in scalars] == pytest.approx(table[name].tolist(), rel=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("client", [False, True])
def test_mlflow_reads_the_measurements(client: bool, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    reader = mlflow.MlflowClient()
    experiment = mlflow.create_experiment("depth", artifact_location=str(tmp_path))
    with mlflow.start_run(experiment_id=experiment) as run:
        table = _logged(to_mlflow(reader, run.info.run_id) if client else to_mlflow(mlflow))
    for name in VALUES:
        history = reader.get_metric_history(run.info.run_id, f"ammup/{name}")
        assert [(metric.step, metric.value) for metric in history] == list(zip([0, 2, 4], table[name], strict=True))


def test_a_log_that_fails_does_not_end_the_training() -> None:
    with pytest.warns(MeasurementWarning, match="pass on the measurement of step 0: log raised ZeroDivisionError"):
        table = _logged(lambda values, step: 1 / 0)
    assert table["S_bar"].notna().all()
    for function, message in ((to_tensorboard, "writer is a int"), (to_mlflow, "target is a int")):
        with pytest.raises(InputError, match=message):
            function(3)


def test_a_state_dict_continues_the_table() -> None:
    net = _net()
    first, second = (ammup.UpdateLogger(net, every=1, loss="cross_entropy") for _ in range(2))
    for step in range(2):
        first(step, X, Y)
    second.load_state_dict(first.state_dict())
    second(2, X, Y)
    pd.testing.assert_frame_equal(second.table.head(2), first.table)
    assert second.table["step"].tolist() == [0, 1, 2]
    assert second.units == first.units
    with pytest.raises(InputError, match="the state is not that of an UpdateLogger"):
        second.load_state_dict({"rows": []})


@pytest.mark.filterwarnings("ignore")
def test_accelerate_trains_as_without_it() -> None:
    """The optimizer of accelerate wraps another one; a copy of it would step the original."""
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    weights, tables = [], []
    for measured in (True, False):
        accelerator = accelerate.Accelerator(cpu=True)
        net = _net()
        net, optimizer, loader = accelerator.prepare(
            net, torch.optim.AdamW(net.parameters(), lr=0.01), DataLoader(TensorDataset(X, Y), batch_size=8)
        )
        logger = ammup.UpdateLogger(accelerator.unwrap_model(net), every=1, loss="cross_entropy", optimizer=optimizer)
        for step, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            accelerator.backward(F.cross_entropy(net(x), y))
            if measured:
                logger(step, x, y)
            optimizer.step()
        weights.append([p.detach().clone() for p in net.parameters()])
        tables.append(logger.table)
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert tables[0]["S_bar"].notna().all()
    assert len(tables[0]) == 3


@pytest.mark.filterwarnings("ignore")
def test_ignite_trains_as_without_it() -> None:
    pytest.importorskip("ignite", reason="pytorch-ignite is not installed")
    from ignite.engine import Events, create_supervised_trainer

    weights = []
    for measured in (True, False):
        net = _net()
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        trainer = create_supervised_trainer(net, optimizer, F.cross_entropy)
        logger = ammup.UpdateLogger(net, every=2, loss="cross_entropy", optimizer=optimizer)
        if measured:

            @trainer.on(Events.ITERATION_STARTED)
            def measure(engine: Any, logger: Any = logger) -> None:
                logger(engine.state.iteration - 1, *engine.state.batch)

        trainer.run(DataLoader(TensorDataset(X, Y), batch_size=8), max_epochs=2)
        weights.append([p.detach().clone() for p in net.parameters()])
        assert logger.table["step"].tolist() == ([0, 2, 4] if measured else [])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
