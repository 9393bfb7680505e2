"""Measure every random claim with other seed roots, in full, as `pytest -m statistical --ammup-seed-root ROOT` does.

One root is measured after another, each with both looks of a claim where the first does not settle it. The verdict, the
estimate, its standard error and the alarms of each claim are added to baselines/pools/roots.json. The script can be
stopped, and continues where it ended; a claim that is defined differently from the stored result is measured again. The
table is printed from the file, also without --roots.

    python benchmarks/seed_roots.py --roots 20
"""

import argparse
import json
import time
from pathlib import Path

import torch
from pool_parts.roots_table import RootResults, roots_table
from pool_parts.store import FOLDER

from ammup.atomic import write_atomically
from ammup.claims.claim import Claim
from ammup.claims.draws import clear_cache
from ammup.claims.ledger import alarms, measure
from ammup.claims.statements import CLAIMS

RESULTS = FOLDER / "roots.json"


def measured(claim: Claim, root: int) -> dict[str, object]:
    """The result of one claim with one root: the estimate, its standard error and the CPU seconds.

    The number of looks is added if it is not 1, the verdict if it is not that of the baseline, and the reasons of an
    alarm, with which the test of the claim would fail. A measurement that raises an error has no estimate.
    """
    start = time.process_time()
    try:
        (comparison,) = measure([claim], root=root)
    except Exception as error:  # with which the test of the claim fails as well
        return {"alarms": [f"{type(error).__name__}: {error}"], "cpu": round(time.process_time() - start, 1)}
    new, reasons = comparison.new, alarms(comparison)
    return {
        "value": float(f"{new.estimate:.6g}"),
        "se": float(f"{new.se:.3g}"),
        "cpu": round(time.process_time() - start, 1),
        **({"looks": new.looks} if new.looks > 1 else {}),
        **({"verdict": new.verdict} if comparison.verdict_changed else {}),
        **({"alarms": reasons} if reasons else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", type=int, default=0, help="measure the roots 1 to ROOTS that are not stored yet")
    parser.add_argument("--claims", nargs="+", metavar="ID", help="only these claims")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    stored: RootResults = json.loads(args.results.read_text()) if args.results.exists() else {}
    keys = {claim.id: claim.key for claim in CLAIMS if not claim.exact}
    results = {name: one for name, one in stored.items() if one["key"] == keys.get(name)}
    for root in range(1, args.roots + 1):
        for claim in CLAIMS:
            if claim.exact or claim.id not in (args.claims or [claim.id]):
                continue
            of_roots = results.setdefault(claim.id, {"key": keys[claim.id], "roots": {}})["roots"]
            if str(root) in of_roots:
                continue
            of_roots[str(root)] = one = measured(claim, root)
            write_atomically(args.results, json.dumps(results))
            print(root, claim.id, json.dumps(one), flush=True)
        clear_cache()
    print(roots_table(results))


if __name__ == "__main__":
    main()
