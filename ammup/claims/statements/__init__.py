"""The ledger: every statement of the paper that can be tested at initialization, place by place."""

from ammup.claims.claim import Claim
from ammup.claims.statements import appendices, laws, lemmas, means, overlap, theorem1, theorem2, theorem3

CLAIMS: tuple[Claim, ...] = (
    *laws.CLAIMS,
    *theorem1.CLAIMS,
    *theorem2.CLAIMS,
    *theorem3.CLAIMS,
    *lemmas.CLAIMS,
    *overlap.CLAIMS,
    *means.CLAIMS,
    *appendices.CLAIMS,
)
