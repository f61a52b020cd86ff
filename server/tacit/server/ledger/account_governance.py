"""Accounts: opened by the operator, changed by two officers, each step one governance entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, func, insert, select, update

from tacit.privacy.account_change_documents import (
    ApprovalDocument,
    ChangeDocument,
    RejectionDocument,
)
from tacit.privacy.account_documents import AccountDocument
from tacit.privacy.budget import BudgetAccount
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
from tacit.privacy.budget_standing import AccountStanding
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.governance import GovernanceEntry
from tacit.server.authn import MAX_SKEW_MS
from tacit.server.budget.rows import load_reservations
from tacit.server.budget.standing import load_proposal, load_standing, save_standing
from tacit.server.errors import AlreadyExists, FailedPrecondition, NotFound
from tacit.server.ledger.log import Logs
from tacit.server.ledger.tables import account_changes, accounts, devices


class AccountGovernance:
    """Append `account` entries and the changes of their terms, inside the caller's transaction.

    Sending an entry again whose body is recorded by the same signer answers with the first one's
    index. A new entry must be recorded near the ledger's own clock, for expiries and windows are
    reckoned in recorded times.
    """

    def __init__(self, logs: Logs, officers: Officers, now_ms: Callable[[], int]) -> None:
        self._logs = logs
        self._officers = officers
        self._now_ms = now_ms

    def open(self, connection: Connection, entry: GovernanceEntry) -> int:
        """Open an account.

        Raises:
            AlreadyExists: it is open under other terms.
            FailedPrecondition: its population has one, or delta is not below one over the devices.
            ChangeRefused: its approvers are no two officers.
        """
        document = AccountDocument.from_json(entry.body)
        account = document.account()
        body = canonical_json(entry.body)
        row = connection.execute(
            select(accounts.c.body, accounts.c.position).where(
                accounts.c.account_id == document.account_id
            )
        ).one_or_none()
        if row is not None:
            if row.body != body:
                raise AlreadyExists(f"account {document.account_id}: exists with other terms")
            return int(row.position)
        others = connection.execute(select(accounts.c.body)).scalars()
        check_account(
            account, [AccountDocument.from_json(parse_canonical(one)).account() for one in others]
        )
        check_opening(account, self._officers)
        self._check_enrolled(connection, account, account.target_delta)
        self._check_recorded_now(entry)
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            insert(accounts),
            {"account_id": document.account_id, "body": body, "position": position},
        )
        at_ms, ledger = entry.recorded_at_ms, self._logs.identity
        save_standing(connection, AccountStanding.opened(account, at_ms, ledger))
        return position

    def propose(self, connection: Connection, entry: GovernanceEntry) -> int:
        """Record a proposed change, which alone changes nothing.

        Raises:
            NotFound: there is no such account.
            AlreadyExists: another officer proposed the very same.
            ChangeRefused: see `check_proposal`.
            FailedPrecondition: delta would not lie below one over the enrolled devices.
        """
        document = ChangeDocument.from_json(entry.body)
        standing = load_standing(connection, document.account_id, self._logs.identity)
        proposal = proposal_of(entry, document)
        known = load_proposal(connection, proposal.sha256)
        if known is not None:
            if known.proposer != entry.signer:
                raise AlreadyExists(f"account {document.account_id}: this change was proposed")
            return self._position(connection, proposal.sha256, account_changes.c.position.name)
        check_proposal(standing, proposal, self._officers)
        if document.terms is not None:
            self._check_enrolled(connection, standing.account, document.terms.target_delta)
        self._check_recorded_now(entry)
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            insert(account_changes),
            {
                "change_sha256": proposal.sha256,
                "account_id": document.account_id,
                "entry": entry.to_bytes(),
                "position": position,
                "state": proposal.state.value,
                "decided_by": "",
                "decided_at_ms": 0,
            },
        )
        return position

    def approve(self, connection: Connection, entry: GovernanceEntry) -> int:
        """Make a proposed change effective, at this place in the log.

        Raises:
            NotFound: there is no such account or change.
            ChangeRefused: see `check_approval`.
            FailedPrecondition: delta would not lie below one over the enrolled devices.
        """
        document = ApprovalDocument.from_json(entry.body)
        standing, proposal = self._find(connection, document.account_id, document.change_sha256)
        recorded = self._recorded_before(connection, entry, proposal)
        if recorded is not None:
            return recorded
        at_ms = entry.recorded_at_ms
        check_approval(standing, proposal, entry.signer, at_ms, self._officers)
        if proposal.document.terms is not None:
            delta = proposal.document.terms.target_delta
            self._check_enrolled(connection, standing.account, delta)
        self._check_recorded_now(entry)
        held = load_reservations(connection, document.account_id)
        after, approved = take_effect(standing, proposal, entry.signer, at_ms, held)
        save_standing(connection, after)
        return self._decide(connection, approved, entry)

    def reject(self, connection: Connection, entry: GovernanceEntry) -> int:
        """End a proposed change; its author withdraws it so.

        Raises:
            NotFound: there is no such account or change.
            ChangeRefused: see `check_rejection`.
        """
        document = RejectionDocument.from_json(entry.body)
        standing, proposal = self._find(connection, document.account_id, document.change_sha256)
        recorded = self._recorded_before(connection, entry, proposal)
        if recorded is not None:
            return recorded
        at_ms = entry.recorded_at_ms
        check_rejection(standing, proposal, entry.signer, at_ms, self._officers)
        self._check_recorded_now(entry)
        rejected = decided(proposal, ProposalState.REJECTED, entry.signer, at_ms)
        return self._decide(connection, rejected, entry)

    def _find(
        self, connection: Connection, account_id: str, change_sha256: str
    ) -> tuple[AccountStanding, Proposal]:
        standing = load_standing(connection, account_id, self._logs.identity)
        proposal = load_proposal(connection, change_sha256)
        if proposal is None or proposal.document.account_id != account_id:
            raise NotFound(f"account {account_id}: there is no proposed change {change_sha256}")
        return standing, proposal

    def _decide(self, connection: Connection, proposal: Proposal, entry: GovernanceEntry) -> int:
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            update(account_changes)
            .where(account_changes.c.change_sha256 == proposal.sha256)
            .values(
                state=proposal.state.value,
                decided_by=proposal.decided_by,
                decided_at_ms=proposal.decided_at_ms,
                decision_position=position,
            )
        )
        return position

    def _recorded_before(
        self, connection: Connection, entry: GovernanceEntry, proposal: Proposal
    ) -> int | None:
        """Return the index of this very decision by this officer, None if it is a new one."""
        if proposal.decided_by != entry.signer:
            return None
        position = self._position(connection, proposal.sha256, "decision_position")
        (data,) = self._logs.governance.entries(connection, position, 1)
        return position if GovernanceEntry.parse(data).body == entry.body else None

    def _position(self, connection: Connection, change_sha256: str, column: str) -> int:
        query = select(account_changes.c[column]).where(
            account_changes.c.change_sha256 == change_sha256
        )
        return int(connection.execute(query).scalar_one())

    def _check_recorded_now(self, entry: GovernanceEntry) -> None:
        off_ms = entry.recorded_at_ms - self._now_ms()
        if abs(off_ms) > MAX_SKEW_MS:
            raise FailedPrecondition(
                f"{entry.kind}: expected an entry recorded within {MAX_SKEW_MS / 1000:g} s of the "
                f"ledger's clock, got {off_ms / 1000:.1f} s off"
            )

    def _check_enrolled(
        self, connection: Connection, account: BudgetAccount, target_delta: float
    ) -> None:
        """Hold delta against the population that is really there, as far as the ledger knows."""
        enrolled = connection.execute(
            select(func.count())
            .select_from(devices)
            .where(devices.c.population == account.population)
        ).scalar_one()
        if target_delta * enrolled >= 1.0:
            raise FailedPrecondition(
                f"account {account.account_id}: expected delta below 1/{enrolled}, one over the "
                f"devices enrolled, got {target_delta!r}"
            )


def proposal_of(entry: GovernanceEntry, document: ChangeDocument) -> Proposal:
    """Return the proposal that an `account.change` entry makes."""
    return Proposal(entry.body_digest().hex(), document, entry.signer, entry.recorded_at_ms)


def check_account(account: BudgetAccount, others: Sequence[BudgetAccount]) -> None:
    """Check that a population has one account: two caps would be no cap.

    Raises:
        FailedPrecondition: if another account is of the same population.
    """
    if any(one.population == account.population for one in others):
        raise FailedPrecondition(
            f"account {account.account_id}: its population has an account already, and one cap"
        )
