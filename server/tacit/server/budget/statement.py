"""Statements of budget accounts, re-derived from the governance log: never read from a stored sum.

Every signature, rule and stated epsilon of the governance log is checked on the way; roots and
checkpoints are not, which `verify_export` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy.accounting import EpsilonClaim
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.audit import AuditDocument
from tacit.privacy.budget import BudgetAccount, Reservation, ReservationState, composed_events
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import EXCLUSIONS
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.timeline import BudgetStep, timelines
from tacit.server.errors import NotFound, VerificationFailed
from tacit.server.ledger.contents import LedgerContents
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.replay import GovernanceHistory, replay_governance


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """One account, as its events compose.

    Attributes:
        account: Cap, delta and quotas.
        reservations: All of them, in order.
        spent: Of everything reserved or committed.
        released: Of what was committed alone; never above `spent`.
        by_purpose: Purpose with a quota to what its own reservations compose to.
        tasks: Tasks that pay from it, in order of publication.
        releases: Releases of its population, in order.
        steps: What moved it, in order of the log.
        audits: Records of audits in the log, of whatever account, in order.
    """

    account: BudgetAccount
    reservations: tuple[Reservation, ...]
    spent: EpsilonClaim
    released: EpsilonClaim
    by_purpose: Mapping[str, EpsilonClaim]
    tasks: tuple[TaskManifest, ...]
    releases: tuple[ReleaseManifest, ...]
    steps: tuple[BudgetStep, ...]
    audits: tuple[AuditDocument, ...] = ()

    def count(self, state: ReservationState) -> int:
        """Return the number of reservations in a state."""
        return sum(one.state is state for one in self.reservations)

    def to_json(self) -> dict[str, object]:
        """Return the statement, without its steps."""
        account = self.account
        return {
            "account_id": account.account_id,
            "population": account.population,
            "cap_epsilon": account.cap_epsilon,
            "target_delta": account.target_delta,
            "spent": self.spent.to_json(),
            "released": self.released.to_json(),
            "exclusions": list(EXCLUSIONS),
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
                }
                for one in self.reservations
            ],
            "releases": [
                {"version": one.version, "epsilon": one.epsilon, "task_sha256": one.task_sha256}
                for one in self.releases
            ],
        }


def account_statements(
    contents: LedgerContents, accountant: Accountant | None = None
) -> tuple[AccountStatement, ...]:
    """State every account of a ledger, in order of opening.

    Args:
        contents: What the ledger published.
        accountant: Composes events; by default the closed form alone, which takes milliseconds.

    Raises:
        VerificationFailed: The governance log breaks a rule, or a task has a trust level that
            this accountant does not charge for; then no figure of it is shown.
    """
    accountant = accountant or Accountant(epsilon_without_libraries)
    history = replay_governance(contents.logs[GOVERNANCE].entries, contents.keys, accountant)
    if history.findings:
        raise VerificationFailed(tuple(history.findings))
    entries = [GovernanceEntry.parse(data) for data in contents.logs[GOVERNANCE].entries]
    steps = timelines(entries, history.accounts, accountant)
    return tuple(
        _statement(account, history, steps[name], accountant)
        for name, account in history.accounts.items()
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
    account: BudgetAccount,
    history: GovernanceHistory,
    steps: tuple[BudgetStep, ...],
    accountant: Accountant,
) -> AccountStatement:
    held = history.reservations[account.account_id]
    committed = [one for one in held if one.state is ReservationState.COMMITTED]

    def claim(some: list[Reservation]) -> EpsilonClaim:
        return accountant.claim(composed_events(some), account.target_delta)

    spent = claim(held)
    tasks = tuple(
        task for task in history.tasks.values() if task.budget_account == account.account_id
    )
    # At `local` sensitivity is 2C: the same events would cost more than composed here.
    if others := [task for task in tasks if task.trust_level != spent.trust_level]:
        raise VerificationFailed(
            (
                f"task {others[0].task_id}: expected trust level {spent.trust_level}, which "
                f"{spent.accountant} charges for here, got {others[0].trust_level}",
            )
        )
    return AccountStatement(
        account=account,
        reservations=tuple(held),
        spent=spent,
        released=claim(committed),
        by_purpose={
            purpose: claim([one for one in held if one.purpose == purpose])
            for purpose in account.quotas
        },
        tasks=tasks,
        releases=tuple(history.releases.get(account.population, ())),
        steps=steps,
        audits=tuple(history.audits),
    )
