"""A sweep with four depths, and the law fitted to it."""

import pandas as pd
import pytest
from figures import BROKEN, A, B, sweep

from ammup.stats.optimum import SweepLaw, fit_sweep


@pytest.fixture(scope="package")
def runs() -> pd.DataFrame:
    return sweep()


@pytest.fixture(scope="package")
def law(runs: pd.DataFrame) -> SweepLaw:
    return fit_sweep(runs, segments=[A, B, BROKEN])
