"""The ledger of claims: every statement of the paper that can be tested at initialization, and ours.

There is one module for each place in the paper.
"""

from ammup.claims.claim import Claim
from ammup.claims.statements import (
    appendices,
    laws,
    lemma1,
    lemma2,
    lemma3,
    lemma4,
    means,
    overlap,
    sharpness,
    sharpness_accuracy,
    theorem1,
    theorem2,
    theorem3,
)

CLAIMS: tuple[Claim, ...] = (
    *laws.CLAIMS,
    *theorem1.CLAIMS,
    *theorem2.CLAIMS,
    *theorem3.CLAIMS,
    *lemma1.CLAIMS,
    *lemma2.CLAIMS,
    *lemma3.CLAIMS,
    *lemma4.CLAIMS,
    *overlap.CLAIMS,
    *means.CLAIMS,
    *appendices.CLAIMS,
    *sharpness.CLAIMS,
    *sharpness_accuracy.CLAIMS,
)
