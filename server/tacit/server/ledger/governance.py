"""Governance entries: who may append which kind, and what must be true of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy import Connection, func, insert, select

from tacit.privacy.accounting import GaussianEvent
from tacit.privacy.budget import BudgetAccount
from tacit.privacy.budget_documents import AccountDocument
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.release import KINDS, ReleaseManifest, kind_of
from tacit.privacy.task import TaskManifest
from tacit.server.budget.accountant import Accountant, same_epsilon
from tacit.server.budget.store import (
    account_of,
    load_account,
    load_reservations,
    reservations_of_task,
)
from tacit.server.errors import AlreadyExists, FailedPrecondition, InvalidRequest
from tacit.server.ledger.log import Logs
from tacit.server.ledger.tables import accounts, notices, releases, tasks

KIND_ROLES = {
    "notice": "operator",
    "account": "operator",
    "task": "coordinator",
    "release": "coordinator",
    "budget.reserve": "coordinator",
    "budget.commit": "coordinator",
    "budget.abort": "coordinator",
    "consent.map": "ledger",
}
"""Kind of entry → role whose key must sign it; `ledger` is the node itself, and no caller."""


class BlobSizes(Protocol):
    """What of the blob store a release is checked against."""

    def size(self, digest: bytes) -> int | None:
        """Return a blob's size in bytes, None if it is missing."""
        ...


class GovernanceStore:
    """Append notices, accounts, tasks and releases; budget entries go through `BudgetStore`.

    Sending an entry again whose body is recorded already answers with the first one's index, so a
    caller that lost the reply may simply repeat itself.
    """

    def __init__(self, logs: Logs, blobs: BlobSizes, accountant: Accountant) -> None:
        self._logs = logs
        self._blobs = blobs
        self._accountant = accountant
        self._record: dict[str, Callable[[Connection, GovernanceEntry], int]] = {
            "notice": self._notice,
            "account": self._account,
            "task": self._task,
            "release": self._release,
        }

    def append(self, entry: GovernanceEntry) -> int:
        """Append an entry whose signature and signer's role were checked; returns its index.

        Raises:
            InvalidRequest: if entries of this kind are not appended here.
            BadDocument, BadParameter: if the body is malformed.
            AlreadyExists: if its name stands for another document.
            FailedPrecondition, NotFound: if what it refers to is not there or differs.
        """
        record = self._record.get(entry.kind)
        if record is None:
            raise InvalidRequest(f"entries of kind {entry.kind} go through the budget service")
        if entry.kind in ("task", "release"):
            self._accountant.wait_until_ready()
        with self._logs.writing() as connection:
            return record(connection, entry)

    def latest_release(self, connection: Connection, population: str, kind: str = "") -> int | None:
        """Return the log index of a population's newest release of a kind, None for none.

        Args:
            connection: a transaction.
            population: whose releases.
            kind: one of `KINDS`; empty for the newest of any kind.
        """
        if kind not in ("", *KINDS):
            return None
        newest_first = (
            select(releases.c.body, releases.c.position)
            .where(releases.c.population == population)
            .order_by(releases.c.version.desc())
        )
        # The kind stays in the signed body alone, where no column can come to disagree with it.
        for row in connection.execute(newest_first if kind else newest_first.limit(1)):
            if not kind or ReleaseManifest.from_json(parse_canonical(row.body)).kind == kind:
                return int(row.position)
        return None

    def _notice(self, connection: Connection, entry: GovernanceEntry) -> int:
        notice = NoticeDocument.from_json(entry.body)
        row = connection.execute(
            select(notices.c.sha256, notices.c.position).where(
                notices.c.notice_id == notice.notice_id,
                notices.c.version == notice.version,
                notices.c.language == notice.language,
            )
        ).one_or_none()
        if row is not None:
            if row.sha256 != notice.text_digest():
                raise AlreadyExists(f"notice {notice.notice_id}: this version has another text")
            return int(row.position)
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            insert(notices),
            {
                "notice_id": notice.notice_id,
                "version": notice.version,
                "language": notice.language,
                "sha256": notice.text_digest(),
                "position": position,
            },
        )
        return position

    def _account(self, connection: Connection, entry: GovernanceEntry) -> int:
        document = AccountDocument.from_json(entry.body)
        account = account_of(document)
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
        check_account(account, [account_of(_account_document(body)) for body in others])
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            insert(accounts),
            {"account_id": document.account_id, "body": body, "position": position},
        )
        return position

    def _task(self, connection: Connection, entry: GovernanceEntry) -> int:
        task = TaskManifest.from_json(entry.body)
        digest = task.digest().hex()
        row = connection.execute(
            select(tasks.c.task_sha256, tasks.c.position).where(tasks.c.task_id == task.task_id)
        ).one_or_none()
        if row is not None:
            if row.task_sha256 != digest:
                raise AlreadyExists(f"task {task.task_id}: exists with another manifest")
            return int(row.position)
        account = load_account(connection, task.budget_account)
        check_task(task, account, self._accountant)
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            insert(tasks),
            {
                "task_sha256": digest,
                "task_id": task.task_id,
                "body": canonical_json(entry.body),
                "position": position,
            },
        )
        return position

    def _release(self, connection: Connection, entry: GovernanceEntry) -> int:
        release = ReleaseManifest.from_json(entry.body)
        body = canonical_json(entry.body)
        row = connection.execute(
            select(releases.c.body, releases.c.position).where(
                releases.c.population == release.population,
                releases.c.version == release.version,
            )
        ).one_or_none()
        if row is not None:
            if row.body != body:
                raise AlreadyExists(f"release {release.version}: exists with another manifest")
            return int(row.position)
        newest = connection.execute(
            select(func.max(releases.c.version)).where(releases.c.population == release.population)
        ).scalar_one()
        if release.version != (newest or 0) + 1:
            raise FailedPrecondition(
                f"release: expected version {(newest or 0) + 1}, got {release.version}"
            )
        self._check_release(connection, release)
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            insert(releases),
            {
                "population": release.population,
                "version": release.version,
                "body": body,
                "position": position,
            },
        )
        return position

    def _check_release(self, connection: Connection, release: ReleaseManifest) -> None:
        name = f"release {release.version}"
        body = connection.execute(
            select(tasks.c.body).where(tasks.c.task_sha256 == release.task_sha256)
        ).scalar_one_or_none()
        if body is None:
            raise FailedPrecondition(f"{name}: its task is not in the governance log")
        task = TaskManifest.from_json(parse_canonical(body))
        account = load_account(connection, task.budget_account)
        held = {
            one.reservation_id: one for one in load_reservations(connection, account.account_id)
        }
        committed = {name for name, one in held.items() if one.release_sha256}
        spent_on_task = committed & reservations_of_task(connection, release.task_sha256)
        check_release(release, task, committed, spent_on_task)
        paid = [event for name in release.reservations for event in held[name].events]
        claim = self._accountant.claim(paid, release.target_delta)
        if not same_epsilon(claim.epsilon, release.epsilon):
            raise FailedPrecondition(
                f"{name}: expected epsilon {claim.epsilon!r}, got {release.epsilon!r}"
            )
        size = self._blobs.size(_unhex(release.model_sha256))
        if size != release.model_bytes:
            raise FailedPrecondition(f"{name}: its model is not stored with the stated size")


def check_account(account: BudgetAccount, others: Sequence[BudgetAccount]) -> None:
    """Check that a population has one account: two caps would be no cap.

    Raises:
        FailedPrecondition: if another account is of the same population.
    """
    if any(one.population == account.population for one in others):
        raise FailedPrecondition(
            f"account {account.account_id}: its population has an account already, and one cap"
        )


def check_task(task: TaskManifest, account: BudgetAccount, accountant: Accountant) -> None:
    """Check a task against the account that is to pay for it.

    Raises:
        FailedPrecondition: if population or δ are not the account's, or the stated ε is less than
            what its rounds compose to.
    """
    if (task.population, task.target_delta) != (account.population, account.target_delta):
        raise FailedPrecondition(
            f"task {task.task_id}: expected population and delta of its budget account"
        )
    events = [GaussianEvent(plan.noise_multiplier) for plan in task.rounds]
    claim = accountant.claim(events, task.target_delta)
    if task.epsilon < claim.epsilon and not same_epsilon(task.epsilon, claim.epsilon):
        raise FailedPrecondition(
            f"task {task.task_id}: states epsilon {task.epsilon!r}, its rounds compose to "
            f"{claim.epsilon!r}"
        )


def check_release(
    release: ReleaseManifest, task: TaskManifest, committed: set[str], spent_on_task: set[str]
) -> None:
    """Check a release against its task and the committed reservations of the task's account.

    Args:
        release: what is to be released.
        task: the task it names.
        committed: names of all committed reservations of the task's account.
        spent_on_task: those among them that rounds of this task were paid with.

    Raises:
        FailedPrecondition: naming what differs.
    """
    name = f"release {release.version}"
    if (release.population, release.catalogue_sha256, release.target_delta) != (
        task.population,
        task.catalogue_sha256,
        task.target_delta,
    ):
        raise FailedPrecondition(f"{name}: expected population, catalogue and delta of its task")
    if release.kind != (taught := kind_of(plan.statistic for plan in task.rounds)):
        raise FailedPrecondition(
            f"{name}: expected the kind {taught!r} its task teaches, got {release.kind!r}"
        )
    named = release.reservations
    if not named or len(set(named)) != len(named):
        raise FailedPrecondition(f"{name}: expected at least one reservation, each once")
    if missing := [one for one in named if one not in committed]:
        raise FailedPrecondition(f"{name}: reservation {missing[0]} is not committed")
    # A model may rest on every noised sum of its task; leaving one out would understate its ε.
    if left_out := sorted(spent_on_task.difference(named)):
        raise FailedPrecondition(f"{name}: leaves out reservation {left_out[0]} of its own task")


def _account_document(body: bytes) -> AccountDocument:
    return AccountDocument.from_json(parse_canonical(body))


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidRequest("release.model_sha256: expected hexadecimal digits") from None
