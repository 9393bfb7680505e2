"""Names of array types."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Reals = NDArray[np.floating[Any]]  # float32 or float64
