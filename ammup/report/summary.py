"""Collection of the sweeps of a store and the ledger of claims for the page of `ammup report`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ammup.claims import baselines
from ammup.experiments.analysis import Curves, law_of, read_sweeps, regret_of, rule_curves
from ammup.experiments.record import SweepRecord
from ammup.provenance import commit_of, versions
from ammup.report.curves import plot_accuracies, plot_heatmap
from ammup.report.page import Picture, SweepSection, report_page
from ammup.report.panel import plot_panel
from ammup.stats.optimum import SweepLaw

# The rules that a panel shows: theories and measurements, without the rules of thumb.
PANEL_RULES = ("am-mup", "finite-depth", "pathsum", "measured", "measured-late")


def html_report(path: Path) -> str:
    """The HTML page of a store (.db) or of a sweep record (.json).

    Raises:
        InputError: the file cannot be read.
    """
    sweeps = [sweep_section(record) for record in read_sweeps(path)]
    commit, dirty = commit_of(Path(__file__).parents[1])
    provenance = {
        "file": str(path),
        "commit of ammup": f"{commit or 'unknown'}{', with uncommitted changes' if dirty else ''}",
        "versions": ", ".join(f"{name} {text}" for name, text in versions().items()),
    }
    return report_page(
        sweeps=sweeps,
        claims=[record.to_dict() for record in baselines.read().values()],
        provenance=provenance,
        title=f"ammup: {path.name}",
        made=datetime.now(UTC).isoformat(timespec="minutes"),
    )


def sweep_section(record: SweepRecord) -> SweepSection:
    """The section of the page for one sweep, with its fit, regret and figures."""
    experiment = record.experiment
    law = law_of(record)
    several_depths = record.runs["depth"].nunique() > 1
    return SweepSection(
        name=experiment.name,
        specification=experiment.to_toml(),
        law=law,
        missing=record.missing,
        seeds=record.runs["seed"].nunique(),
        stored=stored_slope(experiment.name),
        regret=regret_of(record) if several_depths and not record.searched else None,
        pictures=_pictures(law, record),
        provenance=record.provenance,
        edge=law_of(record, kind="edge"),
    )


def panel_rules(curves: Curves) -> Curves:
    """The curves of the rules that a panel shows."""
    return {rule: curves[rule] for rule in PANEL_RULES if rule in curves}


def stored_slope(name: str) -> Mapping[str, Any] | None:
    """Slope, interval and source of the sweep with this name in baselines/sweeps, or None."""
    path = baselines.folder() / "sweeps" / f"{name}.json"
    if not path.is_file():
        return None
    law = law_of(SweepRecord.read(path)).power_law
    return None if law is None else {"slope": law.slope, "slope_ci": law.slope_ci, "source": f"sweeps/{path.name}"}


def _pictures(law: SweepLaw, record: SweepRecord) -> list[Picture]:
    """The figures of one sweep."""
    name = record.experiment.name
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
