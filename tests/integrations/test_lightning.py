"""`UpdateMonitor` for Lightning, with the real Trainer. Oracles: training without it, and an UpdateLogger in a loop."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import ammup
from ammup import InputError

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
from ammup.integrations.lightning import UpdateMonitor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders and loggers

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(32, 12, generator=GENERATOR), torch.randint(0, 4, (32,), generator=GENERATOR)


class _Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = ammup.mlp(3, width=16, in_features=12, out_features=4, readout="he", seed=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: Any, _index: int) -> torch.Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class _Recorder(lightning.loggers.logger.DummyLogger):
    """A logger that stores what it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if any(name.startswith("ammup/") for name in metrics):
            self.rows.append((int(step or 0), metrics))


def _fit(monitor: Any, *, checkpoint: Path | None = None, epochs: int = 2, logger: Any = False, **options: Any) -> Any:
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[monitor] if monitor else [], logger=logger,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    module = _Module()
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=8), ckpt_path=checkpoint)
    return trainer, module


def _loop(dtype: torch.dtype | None = None) -> Any:
    """The same training without Lightning."""
    module = _Module()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    logger = ammup.UpdateLogger(module, every=3, loss="cross_entropy", optimizer=optimizer, autocast=dtype)
    for step in range(8):
        x, y = X[step % 4 * 8 :][:8], Y[step % 4 * 8 :][:8]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            loss = F.cross_entropy(module(x), y)
        loss.backward()
        logger(step, x, y)
        optimizer.step()
    return logger, module


@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}])
def test_it_measures_what_a_logger_in_a_loop_measures(options: dict[str, Any]) -> None:
    recorder = _Recorder()
    monitor = UpdateMonitor(every=3, loss="cross_entropy")
    _, module = _fit(monitor, logger=recorder, **options)
    logger, expected = _loop(torch.bfloat16 if options else None)
    assert monitor.table["step"].tolist() == [0, 3, 6]
    np.testing.assert_allclose(monitor.table, logger.table, rtol=1e-5)
    assert [step for step, _ in recorder.rows] == [0, 3, 6]
    for (_, metrics), lr_star in zip(recorder.rows, monitor.table["lr_star"], strict=True):
        assert metrics["ammup/lr_star"] == lr_star
    for one, other in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
def test_training_is_bit_for_bit_that_without_it(options: dict[str, Any]) -> None:
    _, with_it = _fit(UpdateMonitor(every=1, loss="cross_entropy"), **options)
    _, without = _fit(None, **options)
    for one, other in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)


def test_measurements_continue_after_a_checkpoint(tmp_path: Path) -> None:
    whole = UpdateMonitor(every=2, loss="cross_entropy", module="net")
    _fit(whole)
    first, second = (UpdateMonitor(every=2, loss="cross_entropy", module="net") for _ in range(2))
    trainer, _ = _fit(first, epochs=1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _fit(second, checkpoint=tmp_path / "half.ckpt")
    assert len(first.table) == 2
    assert second.table["step"].tolist() == [0, 2, 4, 6]
    np.testing.assert_array_equal(second.table, whole.table)


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(InputError, match="every=0"):
        UpdateMonitor(every=0)
    with pytest.raises(InputError, match=r"call trainer.fit first"):
        _ = UpdateMonitor().table
    with pytest.raises(InputError, match="module='body' does not exist; the LightningModule has net"):
        _fit(UpdateMonitor(module="body", loss="cross_entropy"))
    with pytest.raises(InputError, match=r"the batch is a Tensor; give split="):
        UpdateMonitor()._split(X)


# One training for each process: a second one would start a second process of rank 1.
DDP = """
import sys, warnings
sys.path[:0] = sys.argv[2:]
warnings.simplefilter("ignore")
import torch
import test_lightning as t
from ammup.integrations.lightning import UpdateMonitor
if __name__ == "__main__":
    monitor = UpdateMonitor(every=1, loss="cross_entropy") if sys.argv[1] == "measured" else None
    trainer, module = t._fit(monitor, devices=2, strategy="ddp", epochs=1)
    assert trainer.world_size == 2
    if trainer.is_global_zero:
        torch.save(module.state_dict(), f"{sys.argv[1]}.pt")
        if monitor:
            assert monitor.table["step"].tolist() == [0, 1], monitor.table
            assert monitor.table.notna().all().all(), monitor.table
    else:
        assert monitor is None or monitor.table.empty
"""


@pytest.mark.slow
def test_two_processes_train_as_without_it_and_the_first_measures(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(DDP)
    folders = [str(Path(__file__).parent), str(Path(ammup.__file__).parents[1])]
    for mode in ("measured", "plain"):
        command = [sys.executable, "train.py", mode, *folders]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=140)
        assert done.returncode == 0, done.stderr[-3000:]
    measured, plain = (torch.load(tmp_path / f"{mode}.pt") for mode in ("measured", "plain"))
    assert all(torch.equal(measured[name], plain[name]) for name in plain)
