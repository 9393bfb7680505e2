"""The answer of a tuning as text."""

from io import StringIO

import pytest
from rich.console import Console
from tuning_runs import run_at

from ammup.report.tuned import tuned_text
from ammup.tuning.answer import Tuned
from ammup.tuning.conclusion import conclude
from ammup.tuning.evidence import Evidence
from ammup.tuning.options import TuneOptions
from ammup.tuning.plan import Plan
from ammup.tuning.prediction import predict
from ammup.tuning.settings import RunSetting, SettingChange, setting_change


def _tuned(setting: RunSetting, change: SettingChange) -> Tuned:
    options = TuneOptions(progress=False)
    plan = Plan(depths=(2,), target=8, steps=20, probe_steps=10, lr=0.1, probes=3, options=options)
    runs = (run_at(0.1, 1.0), run_at(0.05, 1.2), run_at(0.2, 1.0), run_at(0.03, 1.1, depth=8))
    prediction = predict(2, 8, edges={}, setting=setting)
    evidence = Evidence(runs=runs, probe_steps=10)
    return conclude(plan, evidence, prediction, change=change, settings=(setting, setting), notes=("first",))


@pytest.fixture
def tuned() -> Tuned:
    return _tuned(RunSetting(), SettingChange())


def _text(tuned: Tuned) -> str:
    console = Console(width=200, record=True, file=StringIO())
    console.print(tuned_text(tuned))
    return console.export_text()


def test_every_number_is_shown_with_its_origin(tuned: Tuned) -> None:
    text = _text(tuned)
    assert f"→ train depth 8 with lr {tuned.lr:.3g} (95% interval [{tuned.interval[0]:.3g}, " in text
    assert f"{tuned.base_edge.lr:.3g}" in text
    assert "given for depth 2, taken as exact" in text
    assert "prediction (L^-1) and 1 probe" in text
    assert "L^-1: the fixed rule that lost least" in text


def test_the_costs_and_the_notes_are_shown(tuned: Tuned) -> None:
    text = _text(tuned)
    (row,) = (line.split("│") for line in text.splitlines() if line.startswith("│     8 │"))
    assert [cell.strip() for cell in row[1:6]] == ["8", "probe", "1", "20", "1.0"]
    assert "would narrow the edge there from a factor of" in text
    assert "note: first" in text
    assert "note: every probe at depth 8 trained" in text
    assert "note: the training setting was not stated" in text


def test_what_adamw_needs_is_noted() -> None:
    base = RunSetting(optimizer="adamw", weight_decay=0.1, batch_size=64, momentum=0.9, schedule="cosine")
    change = setting_change(base, RunSetting(**{**vars(base), "batch_size": 256}))
    text = _text(_tuned(base, change))
    assert "note: no stored sweep was trained with adamw" in text
    assert "replay of one small vision transformer with AdamW" in text
    assert "keeps the time scale of the base" in text
    assert "batch size 64 → 256: factor 2, square-root scaling" in text
