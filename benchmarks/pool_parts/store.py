"""Files of pools: ``baselines/pools/NAME.npz`` with float32 arrays "S_bar" (draws, depths), "control" and "depths"."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ammup.atomic import replacing

FOLDER = Path(__file__).parents[2] / "baselines" / "pools"
# Bits of a float32 mantissa that are stored, so that files compress; the rounding error is below 1e-4 relative.
MANTISSA_BITS = 13


def rounded(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The values as float32 with ``MANTISSA_BITS`` bits of mantissa."""
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    scale = 2.0**MANTISSA_BITS
    return np.ldexp(np.round(mantissa * scale) / scale, exponent).astype(np.float32)


def path_of(name: str, folder: Path = FOLDER) -> Path:
    return folder / f"{name}.npz"


def write(path: Path, arrays: dict[str, NDArray[np.floating]], depths: Sequence[int]) -> None:
    """Write a pool atomically, with rounded values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, temporary=path.with_suffix(".part.npz")) as temporary:
        kept = {name: rounded(values) for name, values in arrays.items()}
        np.savez_compressed(temporary, depths=np.array(depths), **kept)


def read(path: Path) -> dict[str, NDArray[np.float64]]:
    """The arrays of a pool in double precision."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].astype(np.float64) for name in file.files}
