"""What a reviewer should look at: aborts, open spends, findings, rejections, wrong clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tacit.privacy.budget import ReservationState
from tacit.privacy.budget_changes import ProposalState
from tacit.server.budget.statement import AccountStatement
from tacit.server.reports.document import Paragraph, Section, Table
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import exact, second
from tacit.server.reports.period import Period
from tacit.server.reports.positions import Positions

CLOCK_TOLERANCE_MS = 60_000
"""Signers' clocks may differ by so much: what the ledger accepts of a request."""

_Note = Callable[[int, str, str], None]


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing the log shows that is not the ordinary course.

    Attributes:
        index: Entry of the governance log that shows it.
        at_ms: When that was recorded, Unix milliseconds.
        what: What happened.
        meaning: What that means for the claims.
    """

    index: int
    at_ms: int
    what: str
    meaning: str

    def to_json(self) -> dict[str, object]:
        """Return it as a document."""
        return {
            "entry": self.index,
            "recorded_at_ms": self.at_ms,
            "what": self.what,
            "meaning": self.meaning,
        }


def incidents_of(
    ledger: VerifiedLedger, positions: Positions, period: Period, names: set[str]
) -> tuple[Incident, ...]:
    """Find what the log shows of a period for some populations, in order of the log.

    Args:
        ledger: As it stood at the end of the period.
        positions: Of its entries.
        period: What is reviewed.
        names: Populations that are reviewed.
    """
    found: list[Incident] = []

    def note(index: int, what: str, meaning: str) -> None:
        found.append(Incident(index, ledger.entries[index].recorded_at_ms, what, meaning))

    for statement in ledger.statements:
        if statement.account.population in names:
            _of_account(statement, positions, period, note)
    for audit in ledger.history.audits:
        index = positions.audits[audit.report_sha256]
        if audit.findings and period.holds(ledger.entries[index].recorded_at_ms):
            note(
                index,
                f"audit: {audit.statement}",
                "a claim made with the audited build is in doubt until this is explained",
            )
    latest_ms = 0
    for index, entry in enumerate(ledger.entries):
        behind_ms = latest_ms - entry.recorded_at_ms
        latest_ms = max(latest_ms, entry.recorded_at_ms)
        if behind_ms > CLOCK_TOLERANCE_MS and period.holds(entry.recorded_at_ms):
            name, role = ledger.signer(entry)
            note(
                index,
                f"{name} ({role}) dated the entry {behind_ms / 1000:,.0f} s before an earlier one",
                "a clock was wrong or set back; the order of the log stands, its times do not",
            )
    return tuple(sorted(found, key=lambda one: one.index))


def incidents_section(incidents: tuple[Incident, ...]) -> Section:
    """List what was found, and say what leaves no trace in a log."""
    return Section(
        "Incidents, as far as the log shows any",
        (
            Table(
                "What is not the ordinary course",
                (
                    ("time (UTC)", False),
                    ("entry", True),
                    ("what happened", False),
                    ("what it means", False),
                ),
                tuple(
                    (second(one.at_ms), str(one.index), one.what, one.meaning) for one in incidents
                ),
                "The log shows none in the period.",
            ),
            Paragraph(
                "Not every incident leaves an entry. Refused requests do not; neither does a node "
                "that refuses to start on a state older than its anchor or its witnesses remember, "
                "a coordinator or a device that refuses a ledger which went back, or a round that "
                "was given up before anything was reserved. Ask the operator for the processes' "
                "logs, and compare checkpoints."
            ),
        ),
    )


def _of_account(
    statement: AccountStatement, positions: Positions, period: Period, note: _Note
) -> None:
    account = statement.account
    at = {step.index: step.recorded_at_ms for step in statement.steps}
    for held in statement.reservations:
        name = held.reservation_id
        if held.state is ReservationState.ABORTED and period.holds(at[positions.settled[name]]):
            note(
                positions.settled[name],
                f"reservation {name} aborted (“{positions.reasons[name]}”)",
                "not counted as spent, on the coordinator's word that no noise was drawn",
            )
        if held.state is ReservationState.RESERVED:
            note(
                positions.reserved[name],
                f"reservation {name} is open at the end of the period",
                "counted as spent: noise may have been drawn; nothing was committed",
            )
    for change in statement.proposals:
        if change.state is ProposalState.REJECTED and period.holds(change.decided_at_ms):
            index = max(s.index for s in statement.steps if s.change_sha256 == change.sha256)
            note(
                index,
                f"a change of account {account.account_id} was rejected by "
                f"{statement.officers[change.decided_by]}",
                "nothing changed",
            )
    for step in statement.steps:
        if period.holds(step.recorded_at_ms) and step.window_epsilon > step.cap_epsilon:
            note(
                step.index,
                f"window {step.window} of account {account.account_id} stood at ε "
                f"{exact(step.window_epsilon)}, above its cap of {exact(step.cap_epsilon)}",
                "all spending is stopped; what was released before is not undone",
            )
