"""The contents of the page of `ammup report`, compared with their sources."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from figures import sweep
from stores import RUN, put

from ammup.claims import baselines
from ammup.errors import InputError
from ammup.experiments.analysis import law_of, regret_of, rule_curves
from ammup.experiments.experiment import Experiment
from ammup.experiments.record import SweepRecord
from ammup.experiments.schema import StoredExperiment
from ammup.experiments.store import Store
from ammup.provenance import commit_text, versions
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
    section = sweep_section(record, name="made-up")
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
    assert sweep_section(replace(record, experiment=experiment, runs=runs), name="made-up").regret is None


def test_a_panel_shows_theories_and_measurements_but_no_rules_of_thumb(record: SweepRecord) -> None:
    curves = rule_curves(record)
    assert set(curves) == {"constant", "L^-1/2", "L^-1", "am-mup", "finite-depth"}
    assert panel_rules(curves) == {"am-mup": curves["am-mup"], "finite-depth": record.laws["finite-depth"]}
    assert panel_rules({}) == {}


def test_the_stored_slope_is_that_of_the_record_with_the_same_name(
    record: SweepRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "folder", lambda: tmp_path)
    assert stored_slope(record) is None
    (tmp_path / "sweeps").mkdir()
    record.write(tmp_path / "sweeps" / "made-up.json")
    law = law_of(SweepRecord.read(tmp_path / "sweeps" / "made-up.json")).power_law
    assert law is not None
    stored = stored_slope(record)
    fit = {"slope": law.slope, "slope_ci": law.slope_ci, "source": "sweeps/made-up.json"}
    assert stored == {**fit, "differences": []}
    section = sweep_section(record, name="another heading")
    assert (section.stored, section.comparison) == (stored, "same")
    assert all("another heading" in picture.alt for picture in section.pictures)
    assert stored_slope(replace(record, experiment=replace(record.experiment, name="other"))) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("model.arguments.width=32", "model.arguments.width is 32, stored: default"),
        ("data.image_size=16", "data.image_size is 16, stored: default"),
        ("training.batch_size=64", "training.batch_size is 64, stored: 128"),
        ("grid.seeds=2", "grid.seeds is 0,1, stored: 0,1,2"),
        ("grid.depths=2,4,8", "grid.depths is 2,4,8, stored: 2,4,8,16"),
        ("grid.lrs.points=13", "grid.lrs is 13 values from 0.001 to 10, stored: 25 values from 0.001 to 10"),
        ("segments=[]", None),
        ("grid.seeds=1,0,2", None),  # the same cells
        ("paper_slope=-1.2", None),
    ],
)
def test_only_a_sweep_of_equal_settings_is_the_same_as_the_stored_one(
    record: SweepRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, text: str | None
) -> None:
    monkeypatch.setattr(baselines, "folder", lambda: tmp_path)
    (tmp_path / "sweeps").mkdir()
    record.write(tmp_path / "sweeps" / "made-up.json")
    changed = replace(record, experiment=Experiment.from_toml(TOML, changes=["name=made-up", change]))
    stored = stored_slope(replace(changed, experiment=replace(changed.experiment, name="made-up")))
    assert stored is not None
    assert stored["differences"] == ([] if text is None else [text])


def test_a_sweep_on_other_images_is_not_compared(
    record: SweepRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "folder", lambda: tmp_path)
    (tmp_path / "sweeps").mkdir()
    replace(record, data_digest="one").write(tmp_path / "sweeps" / "made-up.json")
    for digest, differences in (("one", []), (None, []), ("another", ["the images differ"])):
        stored = stored_slope(replace(record, data_digest=digest))
        assert stored is not None
        assert stored["differences"] == differences


def test_headings_of_sweeps_with_one_name_contain_their_keys(tmp_path: Path) -> None:
    """Stores of earlier versions contain changed experiments under the same name."""
    path, keys = tmp_path / "runs.db", []
    with Store(path, mode="write") as store:
        for width in (4, 8):
            experiment = Experiment.from_toml(TOML, changes=[f"model.arguments.width={width}"])
            experiment = replace(experiment, name="made-up")
            stored = StoredExperiment(
                key=experiment.key,
                name=experiment.name,
                specification=experiment.to_toml(),
                data_digest=None,
                strategy=None,
                choice=None,
            )
            cell = next(experiment.cells())
            put(store, {cell.key: replace(RUN, depth=cell.depth, lr=cell.lr, seed=cell.seed)}, experiment=stored)
            keys.append(experiment.key)
    page = html_report(path)
    assert all(f">made-up ({key[:8]})</h3>" in page for key in keys)


def test_the_page_contains_its_file_the_commit_the_versions_and_every_claim(tmp_path: Path) -> None:
    path = tmp_path / "a & b.db"
    with Store(path, mode="write"):
        pass
    page = html_report(path)
    assert "a &amp; b.db" in page
    assert commit_text() in page
    assert all(f"{name} {text}" in page for name, text in versions().items())
    assert set(baselines.read()) <= set(re.findall(r"[a-z0-9]+-?[a-z0-9]*\.[a-z0-9-]+", page))
    with pytest.raises(InputError, match=r"missing\.json"):
        html_report(tmp_path / "missing.json")
