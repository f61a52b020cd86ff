"""Rules of a change to an account's terms: two officers, one request, one standing. No storage.

    proposed --> approved by another person, effective at that place in the log
       |
       +-------> rejected or withdrawn; or expires; or another change takes effect first

What a change means for the claim is written in `docs/adr/0012-four-eyes-and-windows.md`. Times are
those that signers recorded; a ledger admits only entries recorded near its own clock, and here a
decision recorded before an earlier one is refused, so a clock set back reaches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tacit.privacy.account_change_documents import ChangeDocument
from tacit.privacy.budget import Reservation
from tacit.privacy.budget_account import AccountTerms, BudgetAccount
from tacit.privacy.budget_standing import AccountStanding
from tacit.privacy.errors import ChangeRefused

DAY_MS = 86_400_000
MAX_CHANGE_TTL_MS = 30 * DAY_MS
CLOCK_SKEW_MS = 120_000
"""Two officers' clocks may each be a minute off the ledger's; further back than that is refused."""

Officers = Mapping[str, str]
"""Key id of every officer to the person who holds the key; one person may hold several."""


class ProposalState(StrEnum):
    """What was decided about a change."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that was proposed, and what became of it.

    Attributes:
        sha256: Hex digest of its body.
        document: The body.
        proposer: Key id of the officer who signed it.
        recorded_at_ms: When, as its signer saw it.
        state: What was decided.
        decided_by: Key id of who approved or rejected it; empty while pending.
        decided_at_ms: When; 0 while pending.
    """

    sha256: str
    document: ChangeDocument
    proposer: str
    recorded_at_ms: int
    state: ProposalState = ProposalState.PENDING
    decided_by: str = ""
    decided_at_ms: int = 0

    def status(self, standing: AccountStanding, now_ms: int) -> str:
        """Return "pending", "approved", "rejected", "superseded" or "expired"."""
        if self.state is not ProposalState.PENDING:
            return str(self.state)
        if self.document.replaces != standing.digest():
            return "superseded"
        return "expired" if now_ms >= self.document.expires_at_ms else "pending"


def check_opening(account: BudgetAccount, officers: Officers) -> None:
    """Check that those who may change an account are officers, and at least two people.

    Raises:
        ChangeRefused: They are not.
    """
    _check_approvers(account.account_id, account.terms, officers)


def check_proposal(standing: AccountStanding, proposal: Proposal, officers: Officers) -> None:
    """Check that a change may be proposed.

    Raises:
        ChangeRefused: The account is fixed for good, the signer is none of its approvers, the
            change is about another standing, changes nothing, expires too early or too late, was
            recorded before an earlier decision, or its terms name approvers who could not act.
    """
    name, document = _name(standing), proposal.document
    _check_may_decide(standing, proposal.proposer, officers)
    _check_time(standing, proposal.recorded_at_ms)
    if not proposal.recorded_at_ms < document.expires_at_ms:
        raise ChangeRefused(f"{name}: expected a change that expires after it was recorded")
    if document.expires_at_ms - proposal.recorded_at_ms > MAX_CHANGE_TTL_MS:
        raise ChangeRefused(
            f"{name}: expected a change that expires within {MAX_CHANGE_TTL_MS // DAY_MS} days"
        )
    _check_content(standing, document, officers)


def check_approval(
    standing: AccountStanding,
    proposal: Proposal,
    approver: str,
    recorded_at_ms: int,
    officers: Officers,
) -> None:
    """Check that an officer may make a change effective now.

    Raises:
        ChangeRefused: The change was decided before, has expired or was superseded; the approver
            is none of the account's, or the person who proposed it; the window is too young to be
            refreshed; or the approval was recorded before the change or another decision.
    """
    name = _name(standing)
    _check_undecided(standing, proposal)
    _check_may_decide(standing, approver, officers)
    author = officers.get(proposal.proposer)
    if author is None:
        raise ChangeRefused(f"{name}: {proposal.proposer}, who proposed it, is no officer any more")
    if approver == proposal.proposer or officers[approver] == author:
        raise ChangeRefused(
            f"{name}: expected the approval of another person than proposed the change: nobody "
            "approves their own request"
        )
    _check_time(standing, recorded_at_ms)
    if recorded_at_ms < proposal.recorded_at_ms - CLOCK_SKEW_MS:
        raise ChangeRefused(f"{name}: the approval is recorded before the change it approves")
    if recorded_at_ms >= proposal.document.expires_at_ms:
        raise ChangeRefused(f"{name}: the change has expired; propose it again")
    _check_content(standing, proposal.document, officers)
    if not proposal.document.is_refresh:
        return
    age_ms = recorded_at_ms - standing.window_started_at_ms
    least_ms = (standing.account.window_days or 0) * DAY_MS
    if age_ms < least_ms:
        raise ChangeRefused(
            f"{name}: expected window {standing.window} to have lasted "
            f"{standing.account.window_days} days before it is refreshed, got "
            f"{max(age_ms, 0) / DAY_MS:.1f}"
        )


def check_rejection(
    standing: AccountStanding,
    proposal: Proposal,
    officer: str,
    recorded_at_ms: int,
    officers: Officers,
) -> None:
    """Check that an officer may end a proposal; one is enough, for nothing changes by it.

    Raises:
        ChangeRefused: It was decided before, the officer is no approver of the account, or the
            rejection was recorded before an earlier decision.
    """
    _check_undecided(standing, proposal)
    _check_may_decide(standing, officer, officers)
    _check_time(standing, recorded_at_ms)


def take_effect(
    standing: AccountStanding,
    proposal: Proposal,
    approver: str,
    recorded_at_ms: int,
    reservations: Sequence[Reservation],
) -> tuple[AccountStanding, Proposal]:
    """Return standing and proposal after an approval that `check_approval` let pass.

    Args:
        standing: Before it.
        proposal: What is approved.
        approver: Key id.
        recorded_at_ms: Of the approval.
        reservations: Every reservation of the account, in order.
    """
    terms = proposal.document.terms
    if terms is None:
        after = standing.refreshed(reservations, recorded_at_ms)
    else:
        after = standing.with_terms(terms, recorded_at_ms)
    return after, decided(proposal, ProposalState.APPROVED, approver, recorded_at_ms)


def decided(proposal: Proposal, state: ProposalState, officer: str, at_ms: int) -> Proposal:
    """Return the proposal with what was decided about it."""
    return replace(proposal, state=state, decided_by=officer, decided_at_ms=at_ms)


def _name(standing: AccountStanding) -> str:
    return f"account {standing.account.account_id}"


def _check_undecided(standing: AccountStanding, proposal: Proposal) -> None:
    if proposal.document.account_id != standing.account.account_id:
        raise ChangeRefused(f"{_name(standing)}: the change is of another account")
    if proposal.state is not ProposalState.PENDING:
        raise ChangeRefused(f"{_name(standing)}: the change was {proposal.state} before")


def _check_may_decide(standing: AccountStanding, key_id: str, officers: Officers) -> None:
    account, name = standing.account, _name(standing)
    if not account.approvers:
        raise ChangeRefused(f"{name}: names no approvers, so its terms are fixed for good")
    if key_id not in account.approvers:
        raise ChangeRefused(f"{name}: expected one of its approvers, got {key_id}")
    if key_id not in officers:
        raise ChangeRefused(f"{name}: {key_id} is no officer of this ledger")


def _check_time(standing: AccountStanding, recorded_at_ms: int) -> None:
    if recorded_at_ms < standing.decided_at_ms - CLOCK_SKEW_MS:
        raise ChangeRefused(
            f"{_name(standing)}: is recorded before the account's last decision; expected a time "
            "after it: check the clock"
        )


def _check_content(standing: AccountStanding, document: ChangeDocument, officers: Officers) -> None:
    name = _name(standing)
    if document.account_id != standing.account.account_id:
        raise ChangeRefused(f"{name}: the change is of another account")
    if document.replaces != standing.digest():
        raise ChangeRefused(
            f"{name}: the change is about terms or a window that are not in force; another change "
            "took effect, it was made for another ledger, or none of this digest ever did: propose "
            "it again"
        )
    if document.terms is None:
        if standing.account.window_days is None:
            raise ChangeRefused(f"{name}: has no window to refresh; its cap is for good")
        return
    if document.terms == standing.account.terms:
        raise ChangeRefused(f"{name}: expected terms that differ from those in force")
    _check_approvers(standing.account.account_id, document.terms, officers)


def _check_approvers(account_id: str, terms: AccountTerms, officers: Officers) -> None:
    if unknown := [one for one in terms.approvers if one not in officers]:
        raise ChangeRefused(f"account {account_id}: {unknown[0]} is no officer of this ledger")
    if terms.approvers and len({officers[one] for one in terms.approvers}) < 2:
        raise ChangeRefused(f"account {account_id}: expected approvers who are two people or more")
