"""Store the rows of every random claim of one seed root in baselines/pools/claims, for `error_budget.py`.

A row is what a claim measures for one weight draw. The script can be stopped, and continues where it ended. With
--draws, more rows are measured than one look takes, for claims whose rows are not like log-normal ones.

    python benchmarks/draw_claim_rows.py
    python benchmarks/draw_claim_rows.py --claims lemma-1.conditional --draws 3000
"""

import argparse
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from pool_parts.store import FOLDER

from ammup.atomic import replacing
from ammup.claims.draws import clear_cache
from ammup.claims.statements import CLAIMS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=int, default=0)
    parser.add_argument("--claims", nargs="+", metavar="ID", help="only these claims")
    parser.add_argument("--draws", type=int, default=0, help="rows of each claim; by default those of one look")
    parser.add_argument("--folder", type=Path, default=FOLDER / "claims")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    for group, claims in groupby(CLAIMS, key=lambda claim: claim.group):
        path = args.folder / f"{group}.npz"
        rows = dict(np.load(path)) if path.exists() else {}
        for claim in claims:
            draws = args.draws or claim.n
            if claim.exact or len(rows.get(claim.id, ())) >= draws or claim.id not in (args.claims or [claim.id]):
                continue
            start, first = time.process_time(), claim.seeds(args.root, 1).start
            rows[claim.id] = np.asarray(claim.rows(range(first, first + draws)), dtype=np.float32)
            print(f"{claim.id}: {rows[claim.id].shape}, {time.process_time() - start:.0f} CPU s", flush=True)
            with replacing(path, temporary=path.with_suffix(".part.npz")) as temporary:
                np.savez_compressed(temporary, **rows)
        clear_cache()


if __name__ == "__main__":
    main()
