"""The contents of the page of `ammup report`, compared with their sources."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from figures import sweep

from ammup.claims import baselines
from ammup.errors import InputError
from ammup.experiments.analysis import law_of, regret_of, rule_curves
from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.experiments.store import Store
from ammup.provenance import commit_of, versions
from ammup.report.summary import html_report, panel_rules, stored_slope, sweep_section

TOML = """
name = "made-up"
model = {factory = "cnn"}
data = {source = "synthetic"}
grid = {depths = [2, 4, 8, 16], lrs = {low = 1e-3, high = 10.0, points = 25}, seeds = 3}
"""


@pytest.fixture(scope="module")
def record() -> SweepRecord:
    return SweepRecord(
        experiment=Experiment.from_toml(TOML),
        runs=sweep().assign(val_loss=lambda t: 1 - t["val_accuracy"]),
        measurements=pd.DataFrame(columns=["depth", "lr", "seed", "step", "S_bar"]),
        laws={"finite-depth": {depth: depth**-1.2 for depth in (2, 4, 8, 16)}},
        data_digest=None,
        provenance={"device": "an abacus"},
    )


def test_a_section_has_the_fit_the_regret_and_the_provenance_of_its_sweep(record: SweepRecord) -> None:
    section = sweep_section(record)
    law, regret = law_of(record), regret_of(record)
    assert section.law.power_law == law.power_law
    assert section.law.used == law.used
    assert section.regret is not None
    pd.testing.assert_frame_equal(section.regret.by_depth, regret.by_depth)
    assert Experiment.from_toml(section.specification).key == record.experiment.key
    assert (section.name, section.missing, section.seeds) == ("made-up", 0, 3)
    assert (section.provenance, section.stored) == (record.provenance, None)
    assert len(section.pictures) == 3
    assert all("made-up" in picture.alt for picture in section.pictures)


def test_one_depth_has_no_regret(record: SweepRecord) -> None:
    runs = record.runs[record.runs["depth"] == 4]
    experiment = Experiment.from_toml(TOML.replace("[2, 4, 8, 16]", "[4]"))
    assert sweep_section(replace(record, experiment=experiment, runs=runs)).regret is None


def test_a_panel_shows_theories_and_measurements_but_no_rules_of_thumb(record: SweepRecord) -> None:
    curves = rule_curves(record)
    assert set(curves) == {"constant", "L^-1/2", "L^-1", "am-mup", "finite-depth"}
    assert panel_rules(curves) == {"am-mup": curves["am-mup"], "finite-depth": record.laws["finite-depth"]}
    assert panel_rules({}) == {}


def test_the_stored_slope_is_that_of_the_record_with_the_same_name(
    record: SweepRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "folder", lambda: tmp_path)
    assert stored_slope("made-up") is None
    (tmp_path / "sweeps").mkdir()
    record.write(tmp_path / "sweeps" / "made-up.json")
    law = law_of(SweepRecord.read(tmp_path / "sweeps" / "made-up.json")).power_law
    assert law is not None
    stored = stored_slope("made-up")
    assert stored == {"slope": law.slope, "slope_ci": law.slope_ci, "source": "sweeps/made-up.json"}
    assert sweep_section(record).stored == stored
    assert stored_slope("other") is None


def test_the_page_contains_its_file_the_commit_the_versions_and_every_claim(tmp_path: Path) -> None:
    path = tmp_path / "a & b.db"
    with Store(path, mode="write"):
        pass
    page = html_report(path)
    assert "a &amp; b.db" in page
    commit, _ = commit_of(Path(__file__).parents[2])
    assert (commit or "unknown") in page
    assert all(f"{name} {text}" in page for name, text in versions().items())
    assert set(baselines.read()) <= set(re.findall(r"[a-z0-9]+-?[a-z0-9]*\.[a-z0-9-]+", page))
    with pytest.raises(InputError, match=r"missing\.json"):
        html_report(tmp_path / "missing.json")
