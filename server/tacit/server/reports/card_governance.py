"""Who signed what on the way to a release, and which terms two officers had agreed on."""

from __future__ import annotations

from tacit.server.budget.facts import ReleaseFacts
from tacit.server.budget.timeline import BudgetStep
from tacit.server.reports.document import Block, Facts, Paragraph, Section, Table, Text
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import exact, places, second
from tacit.server.reports.positions import Positions


def approvals_section(ledger: VerifiedLedger, facts: ReleaseFacts, positions: Positions) -> Section:
    """Name everyone whose signature the release rests on."""
    blocks: list[Block] = [_signatures(ledger, facts, positions)]
    steps = _steps(ledger, facts, positions) if facts.claim else ()
    if facts.claim is not None:
        blocks += [*_terms(ledger, facts), _changes(steps)]
    if not any(entry.kind.startswith("task.") for entry in ledger.entries):
        blocks.append(
            Paragraph(
                "The task and the release are signed by the coordinator alone. "
                + (
                    "What officers approve, two at a time, are the terms of the account within "
                    "which tasks spend: its cap, its quotas, the levels it allows."
                    if facts.claim is not None
                    else "No account pays for this level, so no officer's approval is asked for."
                )
            )
        )
    return Section("Who approved and signed", tuple(blocks))


def _signatures(ledger: VerifiedLedger, facts: ReleaseFacts, positions: Positions) -> Table:
    digest = facts.release.task_sha256
    release = positions.releases[facts.release.population, facts.release.version]
    paid = facts.release.reservations
    indices = [
        ("opened the budget account", positions.accounts.get(facts.task.budget_account)),
        ("published the task", positions.tasks[digest]),
        *(("reserved, before the noise was drawn", positions.reserved[one]) for one in paid),
        *(("committed to the noised sum", positions.settled[one]) for one in paid),
        *(
            ("put an exact sum on record", index)
            for (task, _), index in positions.rounds.items()
            if task == digest
        ),
        ("signed the release", release),
    ]
    grouped: dict[tuple[str, str, str], list[int]] = {}
    for what, index in indices:
        if index is not None:
            name, role = ledger.signer(ledger.entries[index])
            grouped.setdefault((what, name, role), []).append(index)
    rows: list[tuple[Text, ...]] = [
        (
            what,
            name,
            role,
            second(ledger.entries[max(found)].recorded_at_ms),
            places(found),
        )
        for (what, name, role), found in grouped.items()
    ]
    return Table(
        "Signatures, each verified with the key the ledger names for its signer",
        (
            ("what", False),
            ("who", False),
            ("role", False),
            ("last at (UTC)", False),
            ("entries", False),
        ),
        tuple(rows),
        "Nothing was signed.",
    )


def _steps(
    ledger: VerifiedLedger, facts: ReleaseFacts, positions: Positions
) -> tuple[BudgetStep, ...]:
    """Return what moved the account until the release."""
    release = positions.releases[facts.release.population, facts.release.version]
    return tuple(
        step
        for one in ledger.statements
        if one.account.account_id == facts.task.budget_account
        for step in one.steps
        if step.index <= release
    )


def _terms(ledger: VerifiedLedger, facts: ReleaseFacts) -> tuple[Block, ...]:
    for statement in ledger.statements:
        if statement.account.account_id != facts.task.budget_account:
            continue
        names = [statement.officers[one] for one in statement.account.approvers]
        return (
            Facts(
                (
                    ("Account", facts.task.budget_account),
                    (
                        "Terms at the release",
                        f"cap ε {exact(facts.cap_epsilon)} a window, at δ = "
                        f"{facts.lifetime_delta!r}",
                    ),
                    (
                        "Changes need",
                        f"two of: {', '.join(names)}"
                        if names
                        else "nobody can change the terms: they are fixed for good",
                    ),
                ),
                "The account that paid",
            ),
        )
    return ()


def _changes(steps: tuple[BudgetStep, ...]) -> Table:
    return Table(
        "Changes of the account's terms that were in force at the release",
        (
            ("entry", True),
            ("time (UTC)", False),
            ("change", False),
            ("proposed by", False),
            ("approved by", False),
        ),
        tuple(
            (
                str(step.index),
                second(step.recorded_at_ms),
                step.name,
                step.officers[0],
                step.officers[1],
            )
            for step in steps
            if step.kind == "account.approval"
        ),
        "Its terms were those it was opened with: no change had been approved by the release.",
    )
