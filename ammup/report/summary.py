"""Collect the sweeps of a store and the ledger of claims for the page of `ammup report`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ammup.claims import baselines
from ammup.experiments.analysis import Curves, law_of, read_sweeps, regret_of, rule_curves
from ammup.experiments.changes import differences, value_text
from ammup.experiments.record import SweepRecord
from ammup.experiments.status import unique_names
from ammup.provenance import commit_text, versions
from ammup.report.curves import plot_accuracies, plot_heatmap
from ammup.report.page import Picture, SweepSection, report_page
from ammup.report.panel import plot_panel
from ammup.report.tunings import tuning_sections
from ammup.stats.optimum import SweepLaw, refitted

# The rules that a panel shows: predictions from theory and from measurements, without the rules of thumb.
PANEL_RULES = ("am-mup", "finite-depth", "pathsum", "measured", "measured-late")


def html_report(path: Path) -> str:
    """The HTML page of a store (.db) or of a sweep record (.json).

    Raises:
        InputError: the file cannot be read.
    """
    records = read_sweeps(path)
    names = unique_names([record.experiment for record in records])
    sweeps = [sweep_section(record, name=name) for record, name in zip(records, names, strict=True)]
    provenance = {
        "file": str(path),
        "commit of ammup": commit_text(),
        "versions": ", ".join(f"{name} {text}" for name, text in versions().items()),
    }
    return report_page(
        sweeps=sweeps,
        claims=[record.to_dict() for record in baselines.read().values()],
        provenance=provenance,
        tunings=tuning_sections(path),
        title=f"ammup: {path.name}",
        made=datetime.now(UTC).isoformat(timespec="minutes"),
    )


def sweep_section(record: SweepRecord, *, name: str) -> SweepSection:
    """The section of the page for one sweep, with its fit, regret and figures; ``name`` is its heading."""
    experiment = record.experiment
    law = law_of(record)
    several_depths = record.runs["depth"].nunique() > 1
    return SweepSection(
        name=name,
        specification=experiment.to_toml(),
        law=law,
        missing=record.missing,
        seeds=record.runs["seed"].nunique(),
        paper_slope=experiment.paper_slope,
        stored=stored_slope(record),
        regret=regret_of(record) if several_depths and not record.searched else None,
        pictures=_pictures(law, record, name=name),
        provenance=record.provenance,
        edge=refitted(law, kind="edge", segments=experiment.segments),
    )


def panel_rules(curves: Curves) -> Curves:
    """The curves of the rules that a panel shows."""
    return {rule: curves[rule] for rule in PANEL_RULES if rule in curves}


def stored_slope(record: SweepRecord) -> Mapping[str, Any] | None:
    """The fit of the sweep with the same name in baselines/sweeps, and the settings in which it differs.

    The fields are those of :attr:`SweepSection.stored`. The result is None if there is no such sweep or fit.
    """
    path = baselines.folder() / "sweeps" / f"{record.experiment.name}.json"
    if not path.is_file():
        return None
    stored = SweepRecord.read(path)
    law = law_of(stored).power_law
    if law is None:
        return None
    fit = {"slope": law.slope, "slope_ci": law.slope_ci, "source": f"sweeps/{path.name}"}
    return {**fit, "differences": _differences(record, stored)}


def _differences(record: SweepRecord, stored: SweepRecord) -> list[str]:
    """One text for each differing setting on which the cells of a sweep depend, and one if the data differ."""
    one, other = ({**sweep.experiment.identity, "grid": sweep.experiment.grid.axes} for sweep in (record, stored))
    texts = [
        f"{path} is {_setting_text(value)}, stored: {_setting_text(before)}"
        for path, (before, value) in differences(other, one).items()
    ]
    digests = {digest for digest in (record.data_digest, stored.data_digest) if digest is not None}
    return [*texts, *(["the images differ"] if len(digests) > 1 else [])]


def _setting_text(value: Any) -> str:
    """A setting as text. Of a long list, only the number of values and the two ends are included."""
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} values from {value[0]:g} to {value[-1]:g}"
    return value_text(value)


def _pictures(law: SweepLaw, record: SweepRecord, *, name: str) -> list[Picture]:
    """The figures of one sweep."""
    return [
        Picture(
            caption="Best learning rates against depth: segments, weighted fit and rules, errors, linear view.",
            alt=f"Four panels that show how the best learning rate of {name} falls with depth",
            figure=plot_panel(law, references=panel_rules(rule_curves(record))),
        ),
        Picture(
            caption="Validation accuracy against learning rate at each depth, with optimum, 95 % interval and edge.",
            alt=f"Accuracy curves of {name}, one for each depth",
            figure=plot_accuracies(law, record.runs),
        ),
        Picture(
            caption="Mean validation accuracy of every cell of the grid; cells with a diverged replica are hatched.",
            alt=f"Heat map of the accuracy of {name} over learning rate and depth",
            figure=plot_heatmap(law, record.runs),
        ),
    ]
