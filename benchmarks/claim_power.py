"""The probability with which the claims detect planted faults in the code of ammup.

Each fault of `power_parts` changes the text of a function of the library. While it is planted, its claim is examined
with real seed roots, in full, and with synthetic ones, which are drawn from the rows of the real ones as in
`error_budget.py`. A root detects a fault if the verdict of the claim differs from that of the baseline, is inconclusive
or the interval is not inside the guarded region; a claim that raises an error detects it as well. Results are added to
baselines/pools/power.json. The script can be stopped, and continues where it ended; a fault or a claim that changed is
measured again. The table is printed from the file.

    python benchmarks/claim_power.py --roots 2000
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from pool_parts.store import FOLDER
from power_parts.measuring import measured
from power_parts.registry import FAULTS
from power_parts.table import power_table

from ammup.atomic import write_atomically
from ammup.claims import baselines
from ammup.claims.definition import digest

RESULTS = FOLDER / "power.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", type=int, default=0, help="measure the faults that are not stored yet")
    parser.add_argument("--faults", nargs="+", metavar="NAME", help="only these faults")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    stored: dict[str, Any] = json.loads(args.results.read_text()) if args.results.exists() else {}
    records = baselines.read()
    keys = {name: digest(fault.claim, fault.edits, records[fault.claim].key) for name, fault in FAULTS.items()}
    results = {name: stored[name] for name in FAULTS if stored.get(name, {}).get("key") == keys[name]}
    for number, (name, fault) in enumerate(FAULTS.items()):
        if not args.roots or name in results or name not in (args.faults or [name]):
            continue
        one = measured(fault, records[fault.claim], roots=args.roots, seed=number)
        results[name] = {"key": keys[name], **one}
        write_atomically(args.results, json.dumps({name: results[name] for name in FAULTS if name in results}))
        print(name, json.dumps(one), flush=True)
    print(power_table(results))


if __name__ == "__main__":
    main()
