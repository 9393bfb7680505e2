"""Functions for ``UpdateLogger(log=...)`` that write to TensorBoard, MLflow and CSV files.

The log of W&B has the required form already: ``UpdateLogger(log=run.log)``. This module imports none of these packages.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ammup.errors import InputError

Log = Callable[[dict[str, float], int], None]


def to_tensorboard(writer: Any) -> Log:
    """Log to a ``torch.utils.tensorboard.SummaryWriter``, one scalar for each value.

    Raises:
        InputError: the writer has no method ``add_scalar``.
    """
    if not callable(getattr(writer, "add_scalar", None)):
        raise InputError(f"writer is a {type(writer).__name__}; give a torch.utils.tensorboard.SummaryWriter")

    def log(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return log


def to_mlflow(target: Any, run_id: str | None = None) -> Log:
    """Log to the active run of MLflow, or to a run by its id.

    Args:
        target: the module ``mlflow``, or with ``run_id`` an ``mlflow.MlflowClient``.
        run_id: the id of the run; None is the active run.

    Raises:
        InputError: the target has no method that logs metrics.
    """
    method = "log_metrics" if run_id is None else "log_metric"
    if not callable(getattr(target, method, None)):
        raise InputError(f"target is a {type(target).__name__}; give mlflow, or an mlflow.MlflowClient and a run_id")

    def log(values: dict[str, float], step: int) -> None:
        if run_id is None:
            target.log_metrics(values, step=step)
            return
        for name, value in values.items():
            target.log_metric(run_id, name, value, step=step)

    return log


def to_csv(path: Path | str) -> Log:
    """Append one row for each measurement to a CSV file, with the columns step and the names of the values.

    Raises:
        InputError: when it is called: the file has other columns.
    """
    file = Path(path)

    def log(values: dict[str, float], step: int) -> None:
        columns = ["step", *values]
        new = not file.exists() or not file.stat().st_size
        if not new:
            with file.open(newline="", encoding="utf-8") as opened:
                found = next(csv.reader(opened))
            if found != columns:
                raise InputError(f"{file} has the columns {', '.join(found)}; expected {', '.join(columns)}")
        with file.open("a", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            if new:
                writer.writerow(columns)
            writer.writerow([step, *values.values()])

    return log
