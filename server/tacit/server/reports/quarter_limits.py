"""What a review does not cover."""

from __future__ import annotations

from tacit.privacy.trust import exclusions
from tacit.server.budget.statement import AccountStatement
from tacit.server.reports.document import Bullets, Section

_OF_ANY_LEDGER = (
    "whether somebody else was shown another history: only comparing checkpoints, or witnesses, "
    "can tell",
    "which signals a device really used, and what the coordinator really ran: the ledger holds "
    "what was signed",
    "whether contributions and sums were deleted after use",
    "who took part, and how many: the ledger does not know",
    "what happened outside of this ledger, with other accounts, other ledgers or other data of the "
    "same people",
)


def limits_section(statements: tuple[AccountStatement, ...]) -> Section:
    """List what no figure of the review covers, and what the ledger cannot see."""
    of_figures = dict.fromkeys(one for each in statements for one in exclusions(each.spent))
    blocks = [Bullets(_OF_ANY_LEDGER, "What the ledger cannot see")]
    if of_figures:
        blocks.insert(0, Bullets(tuple(of_figures), "What ε does not cover"))
    return Section("Not covered", tuple(blocks))
