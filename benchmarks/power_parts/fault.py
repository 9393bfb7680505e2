"""`Fault`: changes of the code of ammup, and the claim that must detect them."""

from dataclasses import dataclass

from power_parts.edits import Edit


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A planted fault.

    Attributes:
        claim: id of the claim that must detect it.
        edits: the changes of the code.
        remark: for a fault that the claim does not detect reliably, why, and what does.
    """

    claim: str
    edits: tuple[Edit, ...]
    remark: str = ""


def fault(claim: str, where: str, old: str, new: str, remark: str = "") -> Fault:
    """A fault that is one change of a text in a function of ammup; ``where`` without the package."""
    return Fault(claim=claim, edits=(Edit(where=f"ammup.{where}", old=old, new=new),), remark=remark)
