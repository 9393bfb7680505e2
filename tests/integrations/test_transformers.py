"""`UpdateMonitor` for transformers, with the real Trainer. Oracle: training without it, and `measure_updates`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ammup
from ammup import InputError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed, which the Trainer needs")
from ammup.integrations.transformers import UpdateMonitor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(0, 50, (32, 8), generator=GENERATOR)
LABELS = torch.randint(0, 3, (32,), generator=GENERATOR)
DATA = [{"input_ids": row, "labels": int(label)} for row, label in zip(TOKENS, LABELS, strict=True)]
TEXTS = [{"input_ids": row, "labels": torch.where(row == 7, -100, row)} for row in TOKENS]


def _bert() -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def _gpt() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def _train(model: Any, data: Any, folder: Path, monitor: Any, *, resume: str | None = None, **options: Any) -> Any:
    arguments = transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=8, report_to=[], use_cpu=True, disable_tqdm=True,
        logging_strategy="no", learning_rate=1e-3, lr_scheduler_type="constant",
        **{"max_steps": 4, "save_strategy": "no", **options},
    )  # fmt: skip
    callbacks = [monitor] if monitor else []
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=data, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"gradient_accumulation_steps": 2}])
def test_training_is_bit_for_bit_that_without_it(options: dict[str, Any], tmp_path: Path) -> None:
    received: list[tuple[int, dict[str, float]]] = []
    monitor = UpdateMonitor(every=2, log=lambda values, step: received.append((step, values)))
    models = [_bert(), _bert()]
    for model, one in zip(models, (monitor, None), strict=True):
        _train(model, DATA, tmp_path, one, **options)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)
    assert monitor.table["step"].tolist() == [0, 2] == [step for step, _ in received]
    assert monitor.table.notna().all().all()
    assert not models[0]._forward_pre_hooks


def test_the_first_row_is_the_measurement_of_the_first_batch(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    class Watching(transformers.Trainer):
        def training_step(self, model: Any, inputs: Any, *rest: Any) -> torch.Tensor:
            seen.append(dict(inputs))
            return super().training_step(model, inputs, *rest)

    for make, data in ((_bert, DATA), (_gpt, TEXTS)):
        seen.clear()
        monitor = UpdateMonitor(every=100)
        arguments = transformers.TrainingArguments(
            str(tmp_path), per_device_train_batch_size=8, max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
            save_strategy="no",
        )  # fmt: skip
        model = make().eval()  # without dropout, whose masks would differ
        model.train = lambda mode=True, model=model: model  # type: ignore[method-assign]
        Watching(model=model, args=arguments, train_dataset=data, callbacks=[monitor]).train()
        labels = seen[0]["labels"]
        causal = make is _gpt

        def loss(logits: torch.Tensor, labels: torch.Tensor, causal: bool = causal) -> torch.Tensor:
            flat = logits[:, :-1].flatten(0, 1) if causal else logits
            return F.cross_entropy(flat, labels[:, 1:].flatten() if causal else labels)

        expected = ammup.measure_updates(
            make().eval(), seen[0]["input_ids"], labels, loss=loss,
            forward=lambda net, ids: net(input_ids=ids).logits,
            optimizer=lambda parameters, lr: torch.optim.AdamW(parameters, lr, weight_decay=0.0),
        )  # fmt: skip
        assert monitor.table["S_bar"][0] == pytest.approx(expected.S_bar, rel=1e-3)


def test_measurements_continue_after_a_checkpoint(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 2}
    first, second = UpdateMonitor(every=1), UpdateMonitor(every=1)
    _train(_bert(), DATA, tmp_path, first, **options)
    _train(_bert(), DATA, tmp_path, second, resume=str(tmp_path / "checkpoint-2"), **options)
    assert second.table["step"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(second.table["S_bar"], first.table["S_bar"], rtol=1e-6)


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(InputError, match="every=0"):
        UpdateMonitor(every=0)
    with pytest.raises(InputError, match=r"call trainer.train first"):
        _ = UpdateMonitor().table


DDP = """
import sys, tempfile, warnings
sys.path[:0] = sys.argv[1:3]
warnings.simplefilter("ignore")
from pathlib import Path
import torch
import test_transformers as t
from ammup.integrations.transformers import UpdateMonitor
monitors = [UpdateMonitor(every=1), None]
weights = []
for monitor in monitors:
    model = t._bert()
    trainer = t._train(model, t.DATA, Path(tempfile.mkdtemp()), monitor, max_steps=2, ddp_backend="gloo")
    weights.append([p.detach().clone() for p in model.parameters()])
assert trainer.args.world_size == 2
assert all(torch.equal(a, b) for a, b in zip(*weights))
if trainer.is_world_process_zero():
    assert monitors[0].table.notna().all().all(), monitors[0].table
    print("measured", len(monitors[0].table))
else:
    assert monitors[0].table.empty
"""


@pytest.mark.slow
def test_two_processes_train_as_without_it_and_the_first_measures(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(DDP)
    folders = [str(Path(__file__).parent), str(Path(ammup.__file__).parents[1])]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "train.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *folders], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "measured 2" in done.stdout
