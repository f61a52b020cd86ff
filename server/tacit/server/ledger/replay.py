"""Replay the governance log: every signature, every rule, every ε, from its entries alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tacit.privacy import budget as rules
from tacit.privacy.accounting import GaussianSums, RunningComposition
from tacit.privacy.audit import AuditDocument
from tacit.privacy.budget import BudgetAccount, Reservation, ReservationState
from tacit.privacy.budget_changes import Proposal
from tacit.privacy.budget_documents import AbortDocument, CommitDocument, ReserveDocument
from tacit.privacy.budget_standing import AccountStanding
from tacit.privacy.consent_map import MapEpoch, check_follows
from tacit.privacy.errors import BadDocument, PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import Retraining
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.budget.accountant import Accountant, same_epsilon
from tacit.server.budget.store import check_planned, check_round_is_free, reservation_of
from tacit.server.errors import Refused
from tacit.server.ledger.config import officers_of
from tacit.server.ledger.governance import (
    KIND_ROLES,
    check_audit,
    check_release,
    check_task,
)
from tacit.server.ledger.keys import PublicKeys
from tacit.server.ledger.level_rules import check_round, check_unpaid_release
from tacit.server.ledger.replay_accounts import AccountReplay
from tacit.server.ledger.replay_lineage import LineageReplay
from tacit.server.ledger.replay_spends import ReplayedSpends


@dataclass(slots=True)
class GovernanceHistory:
    """What the entries establish, and what is wrong with them.

    Attributes:
        standings: account id → terms in force, window and alerts.
        proposals: hex digest → proposed change of terms and what became of it, in order.
        tasks: hex digest → manifest.
        reservations: account id → its reservations, in order.
        releases: population → releases, in order.
        audits: records of audits, in order.
        map_epochs: published roots of the current-state map, in order.
        retrainings: hex digest → announced retraining, in order.
        findings: one line for each entry that breaks a rule.
    """

    standings: dict[str, AccountStanding] = field(default_factory=dict[str, AccountStanding])
    proposals: dict[str, Proposal] = field(default_factory=dict[str, Proposal])
    tasks: dict[str, TaskManifest] = field(default_factory=dict[str, TaskManifest])
    reservations: dict[str, list[Reservation]] = field(default_factory=dict[str, list[Reservation]])
    releases: dict[str, list[ReleaseManifest]] = field(
        default_factory=dict[str, list[ReleaseManifest]]
    )
    audits: list[AuditDocument] = field(default_factory=list[AuditDocument])
    map_epochs: list[MapEpoch] = field(default_factory=list[MapEpoch])
    retrainings: dict[str, Retraining] = field(default_factory=dict[str, Retraining])
    findings: list[str] = field(default_factory=list[str])

    @property
    def accounts(self) -> dict[str, BudgetAccount]:
        """Account id → account under the terms in force."""
        return {name: standing.account for name, standing in self.standings.items()}


def replay_governance(
    entries: Sequence[bytes], keys: PublicKeys, accountant: Accountant
) -> GovernanceHistory:
    """Replay all entries in order; rules that fail become findings, and the replay goes on."""
    history = GovernanceHistory()
    replay = _Replay(history, keys, accountant)
    for index, data in enumerate(entries):
        try:
            entry = GovernanceEntry.parse(data)
        except PrivacyError as error:
            history.findings.append(f"governance entry {index}: {error}")
            replay.grew(data)
            continue
        try:
            replay.entry(entry)
        except (PrivacyError, Refused) as error:
            history.findings.append(f"governance entry {index} ({entry.kind}): {error}")
        replay.grew(data)
    return history


class _Replay:
    def __init__(
        self, history: GovernanceHistory, keys: PublicKeys, accountant: Accountant
    ) -> None:
        self._history = history
        self._keys = keys
        self._accountant = accountant
        self._log = MerkleTree()  # of the entries before the one at hand
        self._notices: set[tuple[str, str, str]] = set()
        # Task digest → round → names of its reservations.
        self._of_task: dict[str, dict[int, list[str]]] = {}
        self._spends: dict[str, ReplayedSpends] = {}  # by account id
        self._account_of_reservation: dict[str, str] = {}
        self._task_ids: set[str] = set()
        accounts = AccountReplay(
            history.standings,
            history.proposals,
            history.reservations,
            officers_of(keys.principals),
            keys.identity,
        )
        self._lineage = LineageReplay(history.tasks, history.releases, history.retrainings)
        # Digest of a task that spends nothing → rounds on record.
        self._unpaid_rounds: dict[str, set[int]] = {}
        # Reservation → what its account composed to when it had just been made.
        self._as_reserved: dict[str, GaussianSums] = {}
        self._steps: dict[str, Callable[[GovernanceEntry], None]] = {
            "notice": self._notice,
            "account": accounts.open,
            "account.change": accounts.propose,
            "account.approval": accounts.approve,
            "account.rejection": accounts.reject,
            "task": self._task,
            "budget.reserve": self._reserve,
            "budget.commit": self._commit,
            "budget.abort": self._abort,
            "round": self._round,
            "release": self._release,
            "audit": self._audit,
            "consent.map": self._map_epoch,
            "retraining": self._lineage.announce,
        }

    def entry(self, entry: GovernanceEntry) -> None:
        principal = self._keys.principal(entry.signer)
        if principal is None:
            raise BadDocument(f"signed by {entry.signer}, which the ledger's keys do not name")
        entry.verify(principal.public_key, principal.key_id)
        if principal.role != KIND_ROLES[entry.kind]:
            raise BadDocument(f"signed in role {principal.role}, needs {KIND_ROLES[entry.kind]}")
        self._steps[entry.kind](entry)

    def grew(self, data: bytes) -> None:
        """Note that the log holds this entry now, whatever is wrong with it."""
        self._log.append(leaf_hash(data))

    def _notice(self, entry: GovernanceEntry) -> None:
        notice = NoticeDocument.from_json(entry.body)
        name = (notice.notice_id, notice.version, notice.language)
        if name in self._notices:
            raise BadDocument("this notice was published before")
        self._notices.add(name)

    def _task(self, entry: GovernanceEntry) -> None:
        task = TaskManifest.from_json(entry.body)
        if task.task_id in self._task_ids:
            raise BadDocument(f"task {task.task_id} was published before")
        check_task(task, self._account_of(task), self._accountant)
        self._task_ids.add(task.task_id)
        self._lineage.task(task)
        self._history.tasks[task.digest().hex()] = task

    def _reserve(self, entry: GovernanceEntry) -> None:
        document = ReserveDocument.from_json(entry.body)
        standing = self._known_account(document.account_id)
        account = standing.account
        new, spends = reservation_of(document), self._spends_of(document.account_id)
        if new.reservation_id in self._account_of_reservation:
            raise BadDocument(f"reservation {new.reservation_id} was made before")
        task = self._history.tasks.get(document.task_sha256)
        if task is None:
            raise BadDocument(f"reservation {new.reservation_id} is for a task not in the log")
        # A spend that breaks a rule still counts: what was spent is never understated here.
        alike = spends.alike(new)
        self._account_of_reservation[new.reservation_id] = document.account_id
        spends.add(new, standing)
        self._as_reserved[new.reservation_id] = spends.lifetime.sums
        of_round = self._of_task.setdefault(document.task_sha256, {}).setdefault(
            document.round_id, []
        )
        spent_on_round = {name for name in of_round if self._counts_on(document.account_id, name)}
        of_round.append(new.reservation_id)
        check_planned(document, account, task)
        check_round_is_free(document, spent_on_round)
        epsilon = self._running(spends.window(standing), account)
        # Confirmed along the way, so that a commit may state it.
        self._running(spends.lifetime, account)
        standing = standing.alerted(epsilon, new.reservation_id)
        self._history.standings[document.account_id] = standing
        rules.find_replay(alike, new)
        own = spends.window_of(new.purpose, standing)
        rules.check_caps(account, new.purpose, epsilon, lambda: self._running(own, account))

    def _commit(self, entry: GovernanceEntry) -> None:
        document = CommitDocument.from_json(entry.body)
        spends, held = self._held(document.reservation_id)
        standing = self._known_account(held.account_id)
        account = standing.account
        now = self._running(spends.lifetime, account)
        if held.state is not ReservationState.RESERVED:
            raise BadDocument(f"reservation {document.reservation_id} is {held.state}")
        spends.settle(rules.commit(held, document.release_sha256), standing)
        sums = self._as_reserved[document.reservation_id]
        as_reserved = self._accountant.figure(sums, account.target_delta)
        if document.target_delta != account.target_delta or not (
            same_epsilon(document.epsilon, as_reserved) or same_epsilon(document.epsilon, now)
        ):
            raise BadDocument(
                f"states epsilon {document.epsilon!r} at delta {document.target_delta!r}; the "
                f"reservations before it give {now!r} at {account.target_delta!r}"
            )

    def _abort(self, entry: GovernanceEntry) -> None:
        document = AbortDocument.from_json(entry.body)
        spends, held = self._held(document.reservation_id)
        if held.state is not ReservationState.RESERVED:
            raise BadDocument(f"reservation {document.reservation_id} is {held.state}")
        spends.settle(rules.abort(held), self._known_account(held.account_id))

    def _round(self, entry: GovernanceEntry) -> None:
        record = RoundRecord.from_json(entry.body)
        task = self._history.tasks.get(record.task_sha256)
        if task is None:
            raise BadDocument(f"round {record.round_id} is of a task not in the log")
        recorded = self._unpaid_rounds.setdefault(record.task_sha256, set())
        if record.round_id in recorded:
            raise BadDocument(f"round {record.round_id} of task {task.task_id} is on record twice")
        recorded.add(record.round_id)
        check_round(record, task, self._account_of(task))

    def _release(self, entry: GovernanceEntry) -> None:
        release = ReleaseManifest.from_json(entry.body)
        earlier = self._history.releases.setdefault(release.population, [])
        expected = earlier[-1].version + 1 if earlier else 1
        earlier.append(release)
        if release.version != expected:
            raise BadDocument(f"expected release version {expected}, got {release.version}")
        task = self._history.tasks.get(release.task_sha256)
        if task is None:
            raise BadDocument(f"release {release.version}: its task is not in the log")
        self._lineage.release(release, task)
        if task.trust_level == CONSENT_ONLY:
            recorded = self._unpaid_rounds.get(release.task_sha256, set())
            check_unpaid_release(release, task, recorded)
            return
        account = self._known_account(task.budget_account).account
        spends = self._spends_of(account.account_id)
        named = {
            name: spends.get(name)
            for name in release.reservations
            if self._account_of_reservation.get(name) == account.account_id
        }
        committed = {n for n, one in named.items() if one.state is ReservationState.COMMITTED}
        of_task = {
            name
            for some in self._of_task.get(release.task_sha256, {}).values()
            for name in some
            if self._counts_on(account.account_id, name)
        }
        check_release(release, task, committed, of_task)
        paid = [event for name in release.reservations for event in named[name].events]
        if release.epsilon is None or release.target_delta is None:
            raise BadDocument(f"release {release.version}: expected epsilon and delta")
        # At its own delta, which is its task's: the account's may have been changed since.
        claim = self._accountant.claim(paid, release.target_delta)
        if not same_epsilon(claim.epsilon, release.epsilon):
            raise BadDocument(
                f"release {release.version} states epsilon {release.epsilon!r}; its reservations "
                f"give {claim.epsilon!r}"
            )

    def _account_of(self, task: TaskManifest) -> BudgetAccount | None:
        if task.budget_account:
            return self._known_account(task.budget_account).account
        opened = self._history.accounts.values()
        return next((one for one in opened if one.population == task.population), None)

    def _audit(self, entry: GovernanceEntry) -> None:
        audit = AuditDocument.from_json(entry.body)
        if any(audit.report_sha256 == other.report_sha256 for other in self._history.audits):
            raise BadDocument(f"audit {audit.report_sha256} was recorded before")
        root = self._log.root(audit.log_size) if audit.log_size <= self._log.size else None
        releases = {
            (one.population, one.version)
            for some in self._history.releases.values()
            for one in some
        }
        check_audit(audit, root, set(self._history.tasks), releases)
        self._history.audits.append(audit)

    def _map_epoch(self, entry: GovernanceEntry) -> None:
        epoch, earlier = MapEpoch.from_json(entry.body), self._history.map_epochs
        previous = earlier[-1] if earlier else None
        earlier.append(epoch)
        check_follows(epoch, previous)

    def _known_account(self, account_id: str) -> AccountStanding:
        standing = self._history.standings.get(account_id)
        if standing is None:
            raise BadDocument(f"budget account {account_id} was not opened before")
        return standing

    def _spends_of(self, account_id: str) -> ReplayedSpends:
        found = self._spends.get(account_id)
        if found is None:
            held = self._history.reservations[account_id]
            found = ReplayedSpends(held, self._history.standings[account_id])
            self._spends[account_id] = found
        return found

    def _held(self, reservation_id: str) -> tuple[ReplayedSpends, Reservation]:
        account_id = self._account_of_reservation.get(reservation_id)
        if account_id is None:
            raise BadDocument(f"reservation {reservation_id} was not made before")
        spends = self._spends_of(account_id)
        return spends, spends.get(reservation_id)

    def _counts_on(self, account_id: str, reservation_id: str) -> bool:
        """Say whether a reservation is of this account, and counts."""
        _, held = self._held(reservation_id)
        return held.account_id == account_id and held.counts

    def _running(self, composition: RunningComposition, account: BudgetAccount) -> float:
        return self._accountant.running_epsilon(composition, account.target_delta)
