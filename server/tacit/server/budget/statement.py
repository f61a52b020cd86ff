"""Statements of budget accounts, re-derived from the governance log: never read from a stored sum.

Every signature, rule and stated epsilon of the governance log is checked on the way; roots and
checkpoints are not, which `verify_export` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tacit.privacy.accounting import EpsilonClaim
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.audit import AuditDocument
from tacit.privacy.budget import (
    BudgetAccount,
    Reservation,
    ReservationState,
    composed_events,
    reached_alerts,
)
from tacit.privacy.budget_changes import Proposal
from tacit.privacy.budget_standing import AccountStanding
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import claim_context
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.timeline import BudgetStep, officer_name, summaries, timelines
from tacit.server.errors import NotFound, VerificationFailed
from tacit.server.ledger.contents import LedgerContents
from tacit.server.ledger.keys import PublicKeys
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.replay import GovernanceHistory, replay_governance


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """One account, as its events compose.

    Attributes:
        standing: Terms in force, current window and alerts given in it.
        reservations: All of them, in order.
        spent: Lifetime: of everything ever reserved or committed.
        window_spent: Of what counts in the current window, which is what the cap bounds.
        released: Lifetime, of what was committed alone; never above `spent`.
        by_purpose: Purpose with a quota to what its own reservations of the window compose to.
        proposals: Changes that officers proposed, in order.
        officers: Key id of every approver and decider to the name of who holds it.
        tasks: Tasks that pay from it, in order of publication.
        releases: Releases of its population, in order.
        steps: What moved it, in order of the log.
        audits: Records of audits in the log, of whatever account, in order.
    """

    standing: AccountStanding
    reservations: tuple[Reservation, ...]
    spent: EpsilonClaim
    window_spent: EpsilonClaim
    released: EpsilonClaim
    by_purpose: Mapping[str, EpsilonClaim]
    proposals: tuple[Proposal, ...]
    officers: Mapping[str, str]
    tasks: tuple[TaskManifest, ...]
    releases: tuple[ReleaseManifest, ...]
    steps: tuple[BudgetStep, ...]
    audits: tuple[AuditDocument, ...] = ()

    @property
    def account(self) -> BudgetAccount:
        """Cap, delta, quotas and the other terms in force."""
        return self.standing.account

    @property
    def in_window(self) -> list[Reservation]:
        """Those of its reservations that belong to the current window."""
        return self.standing.in_window(self.reservations)

    @property
    def reached(self) -> tuple[float, ...]:
        """Alert thresholds that the window stands at or above now."""
        return reached_alerts(self.account, self.window_spent.epsilon)

    def count(self, state: ReservationState) -> int:
        """Return the number of reservations in a state."""
        return sum(one.state is state for one in self.reservations)

    def context(self) -> dict[str, object]:
        """Return what must stand beside every figure of the account."""
        return claim_context(self.spent, sum(e.count for e in composed_events(self.reservations)))

    def to_json(self) -> dict[str, object]:
        """Return the statement, without its steps."""
        account = self.account
        now = {one.reservation_id for one in self.in_window}
        return {
            "account_id": account.account_id,
            "population": account.population,
            "cap_epsilon": account.cap_epsilon,
            "target_delta": account.target_delta,
            **self.context(),
            "spent": self.spent.to_json(),
            "window_spent": self.window_spent.to_json(),
            "window": {
                "number": self.standing.window,
                "started_at_ms": self.standing.window_started_at_ms,
                "days": account.window_days,
                "carried": sorted(self.standing.carried),
            },
            "population_size": account.population_size,
            "alert_thresholds": list(account.alert_thresholds),
            "reached": list(self.reached),
            "alerts": [asdict(one) for one in self.standing.alerts],
            "approvers": [self._officer(one) for one in account.approvers],
            "standing_sha256": self.standing.digest(),
            "changes": [self._change(one) for one in self.proposals],
            "released": self.released.to_json(),
            "quotas": {
                purpose: {
                    "cap_epsilon": quota,
                    "spent_epsilon": self.by_purpose[purpose].epsilon,
                    "spent_epsilon_lower": self.by_purpose[purpose].epsilon_lower,
                }
                for purpose, quota in account.quotas.items()
            },
            "reservations": [
                {
                    "reservation_id": one.reservation_id,
                    "purpose": one.purpose,
                    "state": str(one.state),
                    "events": [event.to_json() for event in one.events],
                    "in_window": one.reservation_id in now,
                }
                for one in self.reservations
            ],
            "releases": [
                {
                    "version": one.version,
                    "trust_level": one.trust_level,
                    **({} if one.epsilon is None else {"epsilon": one.epsilon}),
                    "task_sha256": one.task_sha256,
                }
                for one in self.releases
            ],
        }

    def _officer(self, key_id: str) -> dict[str, object]:
        return {"key_id": key_id, "name": self.officers[key_id]}

    def _change(self, proposal: Proposal) -> dict[str, object]:
        return {
            "sha256": proposal.sha256,
            "status": proposal.status(self.standing, now_ms=0),
            "expires_at_ms": proposal.document.expires_at_ms,
            "what": summaries(self.steps)[proposal.sha256],
            "reason": proposal.document.reason,
            "proposed_by": self._officer(proposal.proposer),
            "proposed_at_ms": proposal.recorded_at_ms,
            "decided_by": self._officer(proposal.decided_by) if proposal.decided_by else None,
            "decided_at_ms": proposal.decided_at_ms or None,
        }


def account_statements(
    contents: LedgerContents, accountant: Accountant | None = None
) -> tuple[AccountStatement, ...]:
    """State every account of a ledger, in order of opening.

    Args:
        contents: What the ledger published.
        accountant: Composes events; by default the closed form alone, which takes milliseconds.

    Raises:
        VerificationFailed: The governance log breaks a rule; then no figure of it is shown.
    """
    return stated(contents, accountant or Accountant(epsilon_without_libraries))[1]


def stated(
    contents: LedgerContents, accountant: Accountant
) -> tuple[GovernanceHistory, tuple[AccountStatement, ...]]:
    """Replay a ledger once; returns what it establishes beside the statements of its accounts.

    Raises:
        VerificationFailed: As `account_statements`.
    """
    history = replay_governance(contents.logs[GOVERNANCE].entries, contents.keys, accountant)
    if history.findings:
        raise VerificationFailed(tuple(history.findings))
    entries = [GovernanceEntry.parse(data) for data in contents.logs[GOVERNANCE].entries]
    steps = timelines(entries, contents.keys, accountant)
    return history, tuple(
        _statement(standing, history, steps[name], accountant, contents.keys)
        for name, standing in history.standings.items()
    )


def find_account(
    statements: tuple[AccountStatement, ...], account_id: str | None
) -> AccountStatement:
    """Return the named account, or the only one where none is named.

    Raises:
        NotFound: There is none of that name, none at all, or several and none is named.
    """
    names = ", ".join(one.account.account_id for one in statements) or "none"
    if account_id is None:
        if len(statements) == 1:
            return statements[0]
        raise NotFound(f"expected the name of one account; the ledger has: {names}")
    for one in statements:
        if one.account.account_id == account_id:
            return one
    raise NotFound(f"expected an account of this ledger ({names}), got {account_id!r}")


def _statement(
    standing: AccountStanding,
    history: GovernanceHistory,
    steps: tuple[BudgetStep, ...],
    accountant: Accountant,
    keys: PublicKeys,
) -> AccountStatement:
    account = standing.account
    held = history.reservations[account.account_id]
    committed = [one for one in held if one.state is ReservationState.COMMITTED]

    def claim(some: list[Reservation]) -> EpsilonClaim:
        return accountant.claim(composed_events(some), account.target_delta)

    # Events of every level state z against their own sensitivity, and so compose; the claim names
    # the level at which they do. Tasks that spend nothing are listed, and are in no figure.
    tasks = tuple(task for task in history.tasks.values() if task.population == account.population)
    current = standing.in_window(held)
    proposals = tuple(
        one for one in history.proposals.values() if one.document.account_id == account.account_id
    )
    deciders = {one for change in proposals for one in (change.proposer, change.decided_by) if one}
    return AccountStatement(
        standing=standing,
        reservations=tuple(held),
        spent=claim(held),
        window_spent=claim(current),
        released=claim(committed),
        by_purpose={
            purpose: claim([one for one in current if one.purpose == purpose])
            for purpose in account.quotas
        },
        proposals=proposals,
        officers={one: officer_name(keys, one) for one in deciders.union(account.approvers)},
        tasks=tasks,
        releases=tuple(history.releases.get(account.population, ())),
        steps=steps,
        audits=tuple(history.audits),
    )
