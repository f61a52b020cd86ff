"""Changes of an account's terms in a review: what, why, and which two officers."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.privacy.budget_changes import ProposalState
from tacit.server.budget.statement import AccountStatement
from tacit.server.budget.timeline import BudgetStep, summaries
from tacit.server.reports.document import Paragraph, Section, Table, Text
from tacit.server.reports.figures import places, second


def changes_section(statement: AccountStatement, within: Sequence[BudgetStep]) -> Section:
    """List every change that was proposed or decided in a period, whatever became of it.

    Args:
        statement: Of the account, as it stood at the end of the period.
        within: Its steps in the period.
    """
    return Section("Changes of terms", (_officers(statement), _table(statement, within)), 2)


def _officers(statement: AccountStatement) -> Paragraph:
    account = statement.account
    if not account.approvers:
        return Paragraph("The account names no approvers: its terms are fixed for good.")
    names = ", ".join(statement.officers[one] for one in account.approvers)
    return Paragraph(
        f"A change takes two of these officers, who must be two people: {names}. One proposes, "
        "another approves; both sign, and only the approval has effect."
    )


def _table(statement: AccountStatement, within: Sequence[BudgetStep]) -> Table:
    told = summaries(statement.steps)
    touched = {step.change_sha256 for step in within if step.change_sha256}
    last_ms = within[-1].recorded_at_ms if within else 0
    rows: list[tuple[Text, ...]] = []
    for one in statement.proposals:
        if one.sha256 not in touched:
            continue
        decided = one.state is not ProposalState.PENDING
        rows.append(
            (
                told[one.sha256],
                f"{statement.officers[one.proposer]}, {second(one.recorded_at_ms)}",
                f"{statement.officers[one.decided_by]}, {second(one.decided_at_ms)}"
                if one.decided_by
                else "",
                str(one.state) if decided else one.status(statement.standing, last_ms),
                one.document.reason,
                places([s.index for s in statement.steps if s.change_sha256 == one.sha256]),
            )
        )
    return Table(
        "Changes proposed or decided in the period (times in UTC)",
        (
            ("change", False),
            ("proposed by", False),
            ("decided by", False),
            ("outcome", False),
            ("reason given", False),
            ("entries", False),
        ),
        tuple(rows),
        "No change was proposed or decided in the period.",
    )
