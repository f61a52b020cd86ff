"""Rules of trust levels in the governance log: which level a population allows, what goes unpaid.

Pure functions of documents; the ledger asks them before it appends, a verifier when it replays.
"""

from __future__ import annotations

from tacit.privacy.budget import BudgetAccount
from tacit.privacy.release import ReleaseManifest, kind_of
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.errors import FailedPrecondition


def check_level(task: TaskManifest, account: BudgetAccount | None) -> None:
    """Check that a population's account allows the trust level of a task.

    A cap says nothing about what spends nothing, so a level without ε would pass by it unseen:
    where a population has a cap, its terms have to name that level.

    Args:
        task: the task.
        account: the account of its population; None where it has none.

    Raises:
        FailedPrecondition: if there is an account the task does not name, or one that does not
            allow its level.
    """
    if account is None:
        if task.budget_account or task.trust_level != CONSENT_ONLY:
            raise FailedPrecondition(
                f"task {task.task_id}: expected the budget account of population "
                f"{task.population}, which has none"
            )
        return
    if task.budget_account != account.account_id:
        raise FailedPrecondition(
            f"task {task.task_id}: expected budget account {account.account_id}, which population "
            f"{task.population} has"
        )
    check_allowed(task, account)


def check_allowed(task: TaskManifest, account: BudgetAccount) -> None:
    """Check that the terms in force allow the trust level of a task.

    A task is asked when it is published and again at each spend, for officers may have taken its
    level away in between.

    Raises:
        FailedPrecondition: if they do not.
    """
    if task.trust_level not in account.allowed_levels:
        raise FailedPrecondition(
            f"task {task.task_id}: trust level {task.trust_level} is not allowed by account "
            f"{account.account_id}, whose terms allow {', '.join(account.allowed_levels)}"
        )


def check_round(record: RoundRecord, task: TaskManifest, account: BudgetAccount | None) -> None:
    """Check the record of a round that spends nothing.

    Raises:
        FailedPrecondition: if its task pays for rounds or has no such round, or the population has
            come to have an account since that does not allow the level.
    """
    if task.trust_level != CONSENT_ONLY:
        raise FailedPrecondition(
            f"round {record.round_id}: task {task.task_id} is of trust level {task.trust_level}, "
            "whose rounds are reserved and committed"
        )
    if record.round_id > len(task.rounds):
        raise FailedPrecondition(f"task {task.task_id}: has no round {record.round_id}")
    check_level(task, account)


def check_unpaid_release(release: ReleaseManifest, task: TaskManifest, recorded: set[int]) -> None:
    """Check a release of a task that spends nothing: every round of it is on record.

    Args:
        release: what is to be released.
        task: the task it names, of trust level `consent-only`.
        recorded: rounds of the task in the governance log.

    Raises:
        FailedPrecondition: naming what differs.
    """
    check_of_task(release, task)
    if release.reservations:
        raise FailedPrecondition(
            f"release {release.version}: expected no reservation at trust level consent-only"
        )
    if missing := [plan.round_id for plan in task.rounds if plan.round_id not in recorded]:
        raise FailedPrecondition(f"release {release.version}: round {missing[0]} is not on record")


def check_of_task(release: ReleaseManifest, task: TaskManifest) -> None:
    """Check what a release takes over from its task."""
    name = f"release {release.version}"
    if (release.population, release.catalogue_sha256, release.target_delta) != (
        task.population,
        task.catalogue_sha256,
        task.target_delta,
    ):
        raise FailedPrecondition(f"{name}: expected population, catalogue and delta of its task")
    if release.trust_level != task.trust_level:
        raise FailedPrecondition(
            f"{name}: expected trust level {task.trust_level} of its task, got "
            f"{release.trust_level}"
        )
    stated = release.statement
    if stated is not None and (
        stated.unit,
        stated.neighboring_relation,
        stated.participation_bound,
        stated.sampling,
    ) != (task.unit, task.neighboring_relation, task.participation_bound, "none"):
        raise FailedPrecondition(
            f"{name}: expected unit, neighbours, participation and sampling of its task"
        )
    if release.kind != (taught := kind_of(plan.statistic for plan in task.rounds)):
        raise FailedPrecondition(
            f"{name}: expected the kind {taught!r} its task teaches, got {release.kind!r}"
        )
