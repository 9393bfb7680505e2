"""Draw pools of S̄, and of its control variate, for `interval_calibration.py`; store them in baselines/pools.

One pool has one column for each depth. Draws at different depths are independent. The script can be stopped, and
continues where it ended.

    python benchmarks/draw_pools.py --draws 20480
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from pool_parts.cells import CELLS, PoolCell
from pool_parts.drawing import draw_block
from pool_parts.store import FOLDER, path_of, read, write

BLOCK = 256  # draws of one stacked pass
SAVE_SECONDS = 30.0


def fill(cell: PoolCell, path: Path, draws: int) -> int:
    """Add blocks of draws to a pool until it has ``draws``; returns their number."""
    arrays = {name: values for name, values in read(path).items() if name != "depths"} if path.exists() else {}
    done = len(arrays["S_bar"]) if arrays else 0
    saved = time.monotonic()
    while done < draws:
        size = min(BLOCK, draws - done)
        S_bar, control = draw_block(cell.setting, done // BLOCK, size, controlled=cell.controlled)
        new = {"S_bar": S_bar} | ({"control": control} if cell.controlled else {})
        arrays = {name: np.concatenate([arrays[name], values]) for name, values in new.items()} if arrays else new
        done += size
        if time.monotonic() - saved > SAVE_SECONDS or done == draws:
            write(path, arrays, cell.setting.depths)
            saved = time.monotonic()
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_480, help=f"a multiple of {BLOCK}")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="NAME")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.cells:
        start = time.process_time()
        draws = fill(CELLS[name], path_of(name, args.folder), args.draws)
        print(f"{name}: {draws} draws, {time.process_time() - start:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
