"""Replay what opened accounts and changed their terms, by the rules that admission applies."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from tacit.privacy.account_change_documents import (
    ApprovalDocument,
    ChangeDocument,
    RejectionDocument,
)
from tacit.privacy.account_documents import AccountDocument
from tacit.privacy.budget import Reservation
from tacit.privacy.budget_changes import (
    Officers,
    Proposal,
    ProposalState,
    check_approval,
    check_opening,
    check_proposal,
    check_rejection,
    decided,
    take_effect,
)
from tacit.privacy.budget_standing import AccountStanding, LedgerIdentity
from tacit.privacy.errors import BadDocument
from tacit.privacy.governance import GovernanceEntry
from tacit.server.ledger.account_governance import check_account, proposal_of


class AccountReplay:
    """Fold `account` entries into standings and proposals.

    An entry that breaks a rule raises and changes nothing: terms that two officers did not agree
    on never count, neither here nor in any figure.

    Args:
        standings: account id → standing; written here.
        proposals: hex digest → proposal; written here.
        reservations: account id → all of its reservations; a new account gets an empty list.
        officers: everyone who ever was one of this ledger.
        ledger: which one it is; changes that officers agreed on another are refused.
    """

    def __init__(
        self,
        standings: MutableMapping[str, AccountStanding],
        proposals: MutableMapping[str, Proposal],
        reservations: MutableMapping[str, list[Reservation]],
        officers: Officers,
        ledger: LedgerIdentity,
    ) -> None:
        self._standings = standings
        self._proposals = proposals
        self._reservations = reservations
        self._officers = officers
        self._ledger = ledger

    def open(self, entry: GovernanceEntry) -> None:
        """Open an account; a second one of its population counts too, and is a finding."""
        account = AccountDocument.from_json(entry.body).account()
        if account.account_id in self._standings:
            raise BadDocument(f"account {account.account_id} was opened before")
        others = [one.account for one in self._standings.values()]
        self._standings[account.account_id] = AccountStanding.opened(
            account, entry.recorded_at_ms, self._ledger
        )
        self._reservations[account.account_id] = []
        check_account(account, others)
        check_opening(account, self._officers)

    def propose(self, entry: GovernanceEntry) -> None:
        """Record a proposed change."""
        document = ChangeDocument.from_json(entry.body)
        proposal = proposal_of(entry, document)
        if proposal.sha256 in self._proposals:
            raise BadDocument(f"account {document.account_id}: this change was proposed before")
        check_proposal(self._standing(document.account_id), proposal, self._officers)
        self._proposals[proposal.sha256] = proposal

    def approve(self, entry: GovernanceEntry) -> None:
        """Make a proposed change effective from here on."""
        document = ApprovalDocument.from_json(entry.body)
        standing, at_ms = self._standing(document.account_id), entry.recorded_at_ms
        proposal = self._proposal(document.account_id, document.change_sha256)
        check_approval(standing, proposal, entry.signer, at_ms, self._officers)
        held: Sequence[Reservation] = self._reservations[document.account_id]
        after, approved = take_effect(standing, proposal, entry.signer, at_ms, held)
        self._standings[document.account_id] = after
        self._proposals[approved.sha256] = approved

    def reject(self, entry: GovernanceEntry) -> None:
        """End a proposed change."""
        document = RejectionDocument.from_json(entry.body)
        standing, at_ms = self._standing(document.account_id), entry.recorded_at_ms
        proposal = self._proposal(document.account_id, document.change_sha256)
        check_rejection(standing, proposal, entry.signer, at_ms, self._officers)
        self._proposals[proposal.sha256] = decided(
            proposal, ProposalState.REJECTED, entry.signer, at_ms
        )

    def _standing(self, account_id: str) -> AccountStanding:
        standing = self._standings.get(account_id)
        if standing is None:
            raise BadDocument(f"budget account {account_id} was not opened before")
        return standing

    def _proposal(self, account_id: str, change_sha256: str) -> Proposal:
        proposal = self._proposals.get(change_sha256)
        if proposal is None or proposal.document.account_id != account_id:
            raise BadDocument(f"account {account_id}: no change {change_sha256} was proposed")
        return proposal
