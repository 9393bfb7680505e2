"""Plant faults in correct nets, and count how often the gate names their cause: right, wrong, or not at all.

    python benchmarks/causes.py --records causes.json
    python benchmarks/causes.py --records causes.json --only 'ViT|mlp'

Each of nine architectures is measured three times: correct, for the baseline; with other weight draws, for the rate of
false alarms; and with each fault that can occur in it, again with other weight draws. The first command measures the
laws that are not in the file of records, which takes several minutes, and then evaluates all of them. Each fault is
judged twice: relative to the baseline, and relative to the slope of the correct model alone.
"""

import argparse
import json
import re
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # the ammup of this checkout

import numpy as np
import pandas as pd
import torch
from cause_parts.nets import FAMILIES, Family
from cause_parts.plant import FAULTS

from ammup.gate.check_result import DepthCheck, with_likely_cause
from ammup.gate.depth_baseline import DepthBaseline
from ammup.gate.likely_cause import NAMED_FROM, UNKNOWN
from ammup.gate.net_facts import NetFacts
from ammup.measurement.depth_exponent import measure_depth_law
from ammup.measurement.depth_law import DepthLaw
from ammup.measurement.specification import MeasurementSpec
from ammup.stats.equivalence import Region
from ammup.stats.power_law import fit_maximal_lr

DEPTHS, DRAWS, MARGIN = (2, 4, 8), 12, 0.3
CORRECT = "correct"
# The architectures whose faults were not looked at when the constants of the patterns were chosen.
HELD_OUT = ("ViT", "ConvNeXt", "post-norm")


def measure(family: Family, net: Any, *, first_seed: int, optimizer: Any = None) -> dict[str, Any]:
    """The depth law of a factory and the facts of its nets, as JSON types."""
    inputs = torch.randn(family.shape, generator=torch.Generator().manual_seed(0))
    spec = MeasurementSpec(inputs=inputs, loss="mse", optimizer=optimizer)
    law = measure_depth_law(net, DEPTHS, spec, seeds=range(first_seed, first_seed + DRAWS))
    facts = NetFacts.from_factory(net, (DEPTHS[0], DEPTHS[-1]), spec)
    groups = law.table.groupby("depth")["S_bar"]
    return {
        "S_bar": {str(depth): s.tolist() for depth, s in groups},
        "S": {str(depth): s.tolist() for depth, s in law.S.items()},
        "seed": first_seed,
        "facts": {"copied": facts.copied, "residual": facts.residual},
    }


def to_law(record: dict[str, Any]) -> DepthLaw:
    """The law of a record."""
    S_bar = {int(depth): np.array(s) for depth, s in record["S_bar"].items()}
    rows = [
        {"depth": depth, "seed": seed, "S_bar": s, "lr_star": s**-0.5}
        for depth, values in S_bar.items()
        for seed, s in enumerate(values, record["seed"])
    ]
    S = {int(depth): np.array(s) for depth, s in record["S"].items()}
    units = {depth: len(s) for depth, s in S.items()}
    return DepthLaw(table=pd.DataFrame(rows), units=units, S=S, power_law=fit_maximal_lr(S_bar))


def measure_missing(path: Path, only: str) -> dict[str, dict[str, Any]]:
    """The records of all laws, by "family / fault"; those that are not in the file are measured and added."""
    records: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for name, family in FAMILIES.items():
        nets: dict[str, tuple[Any, int, Any]] = {
            "baseline": (family.net, 1000, None),
            CORRECT: (family.net, 0, None),
        }
        for fault_name, fault in FAULTS.items():
            if fault.fits(family):
                nets[fault_name] = (fault.planted(family), 0, None)
            if fault.optimizer:
                nets[f"baseline of {fault_name}"] = (family.net, 1000, fault.optimizer)
        for label, (net, seed, optimizer) in nets.items():
            key = f"{name} / {label}"
            if key in records or not re.search(only, name):
                continue
            started = time.perf_counter()
            records[key] = measure(family, net, first_seed=seed, optimizer=optimizer)
            print(f"{key}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
        path.write_text(json.dumps(records))
    return records


def evaluate(records: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row for each faulty or correct net and each reference, with the outcome, the probabilities and the judgement.

    Columns: family, fault, reference ("baseline" or "slope"), outcome, cause (the most probable; "" if the check did
    not fail), probability, right (whether that cause is right).
    """
    rows = []
    for name, family in FAMILIES.items():
        for label in (CORRECT, *FAULTS):
            record = records.get(f"{name} / {label}")
            if record is None:
                continue
            fault = FAULTS.get(label)
            base = f"baseline of {label}" if fault is not None and fault.optimizer else "baseline"
            correct = to_law(records[f"{name} / {base}"])
            right = fault.right_causes(family) if fault is not None else ()
            region = Region.around(correct.power_law.slope, MARGIN)
            check = DepthCheck(
                law=to_law(record), region=region, allowed_drift=None, needed=0, facts=NetFacts(**record["facts"])
            )
            baseline = DepthBaseline.from_check(replace(check, law=correct, facts=NetFacts()), "")
            for reference, result in (
                ("baseline", baseline.against(check, "")),
                ("slope", with_likely_cause(check)),
            ):
                cause = max(result.causes, key=lambda c: result.causes[c]) if result.causes else ""
                rows.append(
                    {
                        "family": name,
                        "fault": label,
                        "reference": reference,
                        "outcome": result.outcome,
                        "cause": cause,
                        "probability": result.causes.get(cause, 0.0),
                        "right": cause in right,
                    }
                )
    return pd.DataFrame(rows)


def confusion(rows: pd.DataFrame) -> pd.DataFrame:
    """For each fault: nets that failed, and of these named right, named wrong (with the causes), not named."""
    table = []
    for fault, group in rows.groupby("fault", sort=False):
        failed = group[group["cause"] != ""]
        named = failed[(failed["probability"] >= NAMED_FROM) & (failed["cause"] != UNKNOWN)]
        wrong = named[~named["right"]]
        table.append(
            {
                "fault": fault,
                "nets": len(group),
                "failed": len(failed),
                "named right": int(named["right"].sum()),
                "named wrong": len(wrong),
                "not named": len(failed) - len(named),
                "wrong causes": ", ".join(f"{row.cause} ({row.family})" for row in wrong.itertuples()),
            }
        )
    total = pd.DataFrame(table)
    faults = total[total["fault"] != CORRECT]
    sums = {column: int(faults[column].sum()) for column in total.columns[1:-1]}
    return pd.concat([total, pd.DataFrame([{"fault": "all faults", **sums, "wrong causes": ""}])], ignore_index=True)


def thresholds(rows: pd.DataFrame) -> pd.DataFrame:
    """For several thresholds: the failed faults of which a cause is named, and the share of these that is right."""
    faulty = rows[(rows["cause"] != "") & (rows["fault"] != CORRECT)]
    failed = faulty[faulty["cause"] != UNKNOWN]
    table = []
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        named = failed[failed["probability"] >= threshold]
        table.append(
            {
                "named from": threshold,
                "failed": len(faulty),
                "named": len(named),
                "right": int(named["right"].sum()),
                "wrong": int((~named["right"]).sum()),
                "mean probability": named["probability"].mean(),
            }
        )
    return pd.DataFrame(table)


def to_markdown(table: pd.DataFrame) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    for row in table.itertuples(index=False):
        lines.append("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, evaluate and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True, help="a JSON file of measured laws, read and extended")
    parser.add_argument("--only", default="", help="a regular expression: measure only these families")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # noise of few draws
    rows = evaluate(measure_missing(options.records, options.only))
    for reference in ("baseline", "slope"):
        part = rows[rows["reference"] == reference]
        print(f"\n## Relative to the {reference}\n\n{to_markdown(confusion(part))}\n")
        for name, subset in (
            ("all architectures", part),
            ("held-out architectures", part[part["family"].isin(HELD_OUT)]),
        ):
            print(f"{name}:\n\n{to_markdown(thresholds(subset))}\n")


if __name__ == "__main__":
    main()
