"""Compare the one-sided error rates of the intervals of log η* in the claims with their nominal rate.

S̄ of a weight draw is approximately log-normal, so its mean is skewed, and the two error rates of Student's t differ.
Prints, for coefficients of variation of S̄ and numbers of draws as in the claims, how often the interval of
-½ log mean S̄ lies below or above the true value.

    python benchmarks/interval_calibration.py
"""

import argparse

import numpy as np
from scipy import stats

from ammup.claims.claim import ALPHA

CASES = ((0.3, 64), (0.5, 100), (0.7, 128), (1.0, 100), (1.2, 96))
CHUNK = 50_000


def misses(variation: float, n: int, samples: int) -> tuple[float, float]:
    """Fractions of the intervals below and above the true value; standard errors are those of the delta method."""
    rng = np.random.default_rng(0)
    variance = np.log1p(variation**2)
    quantile, below, above = stats.t.ppf(1 - ALPHA, n - 1), 0, 0
    for _ in range(samples // CHUNK):
        S_bar = np.exp(np.sqrt(variance) * rng.standard_normal((CHUNK, n)) - variance / 2)
        mean = S_bar.mean(axis=1)
        half = quantile * S_bar.std(axis=1, ddof=1) / np.sqrt(n) / mean / 2
        log_lr = -0.5 * np.log(mean)
        below += int((log_lr + half < 0).sum())
        above += int((log_lr - half > 0).sum())
    return below / samples, above / samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000, help="a multiple of 50000")
    args = parser.parse_args()
    print(f"nominal, each side: {ALPHA:.1e}\n{'variation of S̄':>14} {'draws':>6} {'below':>9} {'above':>9}")
    for variation, n in CASES:
        below, above = misses(variation, n, args.samples)
        print(f"{variation:14.1f} {n:6d} {below:9.1e} {above:9.1e}", flush=True)


if __name__ == "__main__":
    main()
