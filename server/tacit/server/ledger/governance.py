"""Governance entries: who may append which kind, and what must be true of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection, func, insert, select

from tacit.privacy.audit import AuditDocument
from tacit.privacy.budget import BudgetAccount
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.release import KINDS, ReleaseManifest
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.budget.accountant import Accountant, same_epsilon
from tacit.server.budget.rows import load_named, spent_on_task
from tacit.server.budget.standing import load_account
from tacit.server.errors import AlreadyExists, FailedPrecondition, InvalidRequest
from tacit.server.ledger.account_governance import AccountGovernance
from tacit.server.ledger.database import retried
from tacit.server.ledger.level_rules import (
    check_level,
    check_of_task,
    check_round,
    check_unpaid_release,
)
from tacit.server.ledger.lineage_rows import any_retraining, load_lineage
from tacit.server.ledger.lineage_rules import check_release_lineage, check_task_lineage
from tacit.server.ledger.log import Logs
from tacit.server.ledger.retraining import check_affordable
from tacit.server.ledger.tables import accounts, audits, notices, releases, rounds, tasks

KIND_ROLES = {
    "notice": "operator",
    "account": "operator",
    "account.change": "officer",
    "account.approval": "officer",
    "account.rejection": "officer",
    "task": "coordinator",
    "round": "coordinator",
    "release": "coordinator",
    "budget.reserve": "coordinator",
    "budget.commit": "coordinator",
    "budget.abort": "coordinator",
    "audit": "auditor",
    "consent.map": "ledger",
    "retraining": "ledger",
}
"""Kind of entry → role whose key must sign it; `ledger` is the node itself, and no caller."""


class BlobSizes(Protocol):
    """What of the blob store a release is checked against."""

    def size(self, digest: bytes) -> int | None:
        """Return a blob's size in bytes, None if it is missing."""
        ...


class GovernanceStore:
    """Append notices, tasks, releases and audits; `AccountGovernance` appends what accounts are.

    Budget entries go through `BudgetStore`.

    Sending an entry again whose body is recorded already answers with the first one's index, so a
    caller that lost the reply may simply repeat itself.
    """

    def __init__(
        self,
        logs: Logs,
        blobs: BlobSizes,
        accountant: Accountant,
        account_governance: AccountGovernance,
    ) -> None:
        self._logs = logs
        self._blobs = blobs
        self._accountant = accountant
        self._record: dict[str, Callable[[Connection, GovernanceEntry], int]] = {
            "notice": self._notice,
            "account": account_governance.open,
            "account.change": account_governance.propose,
            "account.approval": account_governance.approve,
            "account.rejection": account_governance.reject,
            "task": self._task,
            "round": self._round,
            "release": self._release,
            "audit": self._audit,
        }

    @retried
    def append(self, entry: GovernanceEntry) -> int:
        """Append an entry whose signature and signer's role were checked; returns its index.

        Raises:
            InvalidRequest: if entries of this kind are not appended here.
            BadDocument, BadParameter: if the body is malformed.
            AlreadyExists: if its name stands for another document.
            FailedPrecondition, NotFound: if what it refers to is not there or differs.
            ChangeRefused: if an account's officers may not do this, or not now.
            BudgetExceeded: if the account cannot pay for a task that retrains.
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
        account = _account_of_task(connection, task)
        check_task(task, account, self._accountant)
        if task.base_release or task.retrains:
            check_task_lineage(task, load_lineage(connection, task.population).lineage)
        if task.retrains:
            check_affordable(connection, task, self._logs, self._accountant)
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

    def _round(self, connection: Connection, entry: GovernanceEntry) -> int:
        record = RoundRecord.from_json(entry.body)
        body = canonical_json(entry.body)
        row = connection.execute(
            select(rounds.c.body, rounds.c.position).where(
                rounds.c.task_sha256 == record.task_sha256, rounds.c.round_id == record.round_id
            )
        ).one_or_none()
        if row is not None:
            if row.body != body:
                raise AlreadyExists(f"round {record.round_id}: on record with another context")
            return int(row.position)
        task = _load_task(connection, record.task_sha256)
        if task is None:
            raise FailedPrecondition(
                f"round {record.round_id}: its task is not in the governance log"
            )
        check_round(record, task, _account_of_task(connection, task))
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            insert(rounds),
            {
                "task_sha256": record.task_sha256,
                "round_id": record.round_id,
                "body": body,
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

    def _audit(self, connection: Connection, entry: GovernanceEntry) -> int:
        audit = AuditDocument.from_json(entry.body)
        body = canonical_json(entry.body)
        row = connection.execute(
            select(audits.c.body, audits.c.position).where(
                audits.c.report_sha256 == audit.report_sha256
            )
        ).one_or_none()
        if row is not None:
            if row.body != body:
                raise AlreadyExists(f"audit {audit.report_sha256}: exists with another record")
            return int(row.position)
        log = self._logs.governance
        root = log.root(audit.log_size) if audit.log_size <= log.size else None
        known_tasks = set(connection.execute(select(tasks.c.task_sha256)).scalars())
        known_releases = {
            (str(one.population), int(one.version))
            for one in connection.execute(select(releases.c.population, releases.c.version))
        }
        check_audit(audit, root, known_tasks, known_releases)
        position = log.append(connection, entry.to_bytes())
        connection.execute(
            insert(audits),
            {"report_sha256": audit.report_sha256, "body": body, "position": position},
        )
        return position

    def _check_release(self, connection: Connection, release: ReleaseManifest) -> None:
        name = f"release {release.version}"
        task = _load_task(connection, release.task_sha256)
        if task is None:
            raise FailedPrecondition(f"{name}: its task is not in the governance log")
        if task.trust_level == CONSENT_ONLY:
            recorded = connection.execute(
                select(rounds.c.round_id).where(rounds.c.task_sha256 == release.task_sha256)
            ).scalars()
            check_unpaid_release(release, task, set(recorded))
        else:
            self._check_paid(connection, release, task)
        if release.supersedes or any_retraining(connection, release.population):
            lineage = load_lineage(connection, release.population).lineage
            check_release_lineage(release, task, lineage)
        size = self._blobs.size(_unhex(release.model_sha256))
        if size != release.model_bytes:
            raise FailedPrecondition(f"{name}: its model is not stored with the stated size")

    def _check_paid(
        self, connection: Connection, release: ReleaseManifest, task: TaskManifest
    ) -> None:
        account = load_account(connection, task.budget_account)
        held = {
            one.reservation_id: one
            for one in load_named(connection, account.account_id, release.reservations)
        }
        committed = {name for name, one in held.items() if one.release_sha256}
        of_task = spent_on_task(connection, release.task_sha256)
        check_release(release, task, committed, of_task)
        paid = [event for name in release.reservations for event in held[name].events]
        if release.epsilon is None or release.target_delta is None:
            raise FailedPrecondition(f"release {release.version}: expected epsilon and delta")
        # At its own delta, which is its task's: the account's may have been changed since.
        claim = self._accountant.claim(paid, release.target_delta)
        if not same_epsilon(claim.epsilon, release.epsilon):
            raise FailedPrecondition(
                f"release {release.version}: expected epsilon {claim.epsilon!r}, got "
                f"{release.epsilon!r}"
            )


def check_task(task: TaskManifest, account: BudgetAccount | None, accountant: Accountant) -> None:
    """Check a task against the account that is to pay for it.

    Raises:
        FailedPrecondition: if population or δ are not the account's, its terms do not allow the
            trust level, or the stated ε is less than what its rounds compose to.
    """
    if account is not None and task.population != account.population:
        raise FailedPrecondition(
            f"task {task.task_id}: expected population and delta of its budget account"
        )
    check_level(task, account)
    if account is None or task.epsilon is None or task.target_delta is None:
        return  # consent-only: nothing is spent
    if task.target_delta != account.target_delta:
        raise FailedPrecondition(
            f"task {task.task_id}: expected population and delta of its budget account"
        )
    claim = accountant.claim(task.events(), task.target_delta)
    if task.epsilon < claim.epsilon and not same_epsilon(task.epsilon, claim.epsilon):
        raise FailedPrecondition(
            f"task {task.task_id}: states epsilon {task.epsilon!r}, its rounds compose to "
            f"{claim.epsilon!r}"
        )


def check_release(
    release: ReleaseManifest, task: TaskManifest, committed: set[str], of_task: set[str]
) -> None:
    """Check a release against its task and the committed reservations of the task's account.

    Args:
        release: what is to be released.
        task: the task it names.
        committed: names of committed reservations of the task's account, of those at least that
            the release names.
        of_task: names of the reservations of this very task that count, open ones included: a
            sum they pay for may exist already, and is then as much behind the model as any other.

    Raises:
        FailedPrecondition: naming what differs.
    """
    name = f"release {release.version}"
    check_of_task(release, task)
    named = release.reservations
    if not named or len(set(named)) != len(named):
        raise FailedPrecondition(f"{name}: expected at least one reservation, each once")
    if missing := [one for one in named if one not in committed]:
        raise FailedPrecondition(f"{name}: reservation {missing[0]} is not committed")
    # A model may rest on every noised sum of its task; leaving one out would understate its ε.
    if left_out := sorted(of_task.difference(named)):
        raise FailedPrecondition(
            f"{name}: leaves out reservation {left_out[0]} of its own task; expected every one to "
            "be named, or aborted"
        )


def check_audit(
    audit: AuditDocument,
    root: bytes | None,
    known_tasks: set[str],
    known_releases: set[tuple[str, int]],
) -> None:
    """Check that an audit is of this very log, and of tasks and releases that are in it.

    Args:
        audit: what is to be recorded.
        root: of the log at the size the audit names; None if it never had that size.
        known_tasks: hex digests of the tasks in the log.
        known_releases: population and version of the releases in the log.

    Raises:
        FailedPrecondition: naming what differs.
    """
    name = f"audit {audit.report_sha256[:16]}"
    if root is None or root.hex() != audit.log_root:
        raise FailedPrecondition(
            f"{name}: the log did not have root {audit.log_root[:16]}… at size {audit.log_size}; "
            "audit this ledger's own state"
        )
    if unknown := sorted(set(audit.tasks) - known_tasks):
        raise FailedPrecondition(f"{name}: task {unknown[0][:16]}… is not in the log")
    if unknown_releases := sorted(set(audit.releases) - known_releases):
        population, version = unknown_releases[0]
        raise FailedPrecondition(f"{name}: release {population} {version} is not in the log")


def _load_task(connection: Connection, task_sha256: str) -> TaskManifest | None:
    body = connection.execute(
        select(tasks.c.body).where(tasks.c.task_sha256 == task_sha256)
    ).scalar_one_or_none()
    return None if body is None else TaskManifest.from_json(parse_canonical(body))


def _account_of_task(connection: Connection, task: TaskManifest) -> BudgetAccount | None:
    """Return the account a task names, or that of its population where it names none."""
    if task.budget_account:
        return load_account(connection, task.budget_account)
    names = connection.execute(select(accounts.c.account_id)).scalars().all()
    found = (load_account(connection, name) for name in names)
    return next((one for one in found if one.population == task.population), None)


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidRequest("release.model_sha256: expected hexadecimal digits") from None
