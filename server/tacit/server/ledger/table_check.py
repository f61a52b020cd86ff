"""Hold the look-up tables against the governance log that they are derived from, as a node starts.

While a node runs it decides by these rows: what accounts allow, which tasks there are, which round
is taken. The leaves were held against the checkpoint that this node signed, so whoever edits,
deletes or adds a row without the node's key is found here, before anything is decided by it.
Reservations have their own check (`tacit.server.budget.log_check`), consents and devices too
(`consent_check`). The tasks of erased people (`erased_tasks`) are in no log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, select

from tacit.privacy import budget as rules
from tacit.privacy.account_documents import AccountDocument
from tacit.privacy.audit import AuditDocument
from tacit.privacy.budget import Reservation
from tacit.privacy.budget_changes import Proposal
from tacit.privacy.budget_documents import AbortDocument, CommitDocument, ReserveDocument
from tacit.privacy.budget_standing import AccountStanding
from tacit.privacy.canonical import canonical_json
from tacit.privacy.consent_map import MapEpoch
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import Retraining
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.task import TaskManifest
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.rows import reservation_of
from tacit.server.budget.standing import standing_row
from tacit.server.errors import ServerError, StateCorrupt
from tacit.server.ledger.config import officers_of
from tacit.server.ledger.governance import KIND_ROLES
from tacit.server.ledger.keys import PublicKeys
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.replay_accounts import AccountReplay
from tacit.server.ledger.replay_spends import ReplayedSpends
from tacit.server.ledger.tables import (
    account_changes,
    account_standings,
    accounts,
    audits,
    leaves,
    map_epochs,
    notices,
    releases,
    retrainings,
    rounds,
    tasks,
)

_TABLES = (
    notices,
    accounts,
    account_standings,
    account_changes,
    tasks,
    rounds,
    releases,
    retrainings,
    audits,
    map_epochs,
)
_Key = tuple[Any, ...]


def check_tables_follow_log(
    connection: Connection, keys: PublicKeys, accountant: Accountant
) -> None:
    """Check that every look-up row is what the governance log says, and that none is missing.

    Args:
        connection: a transaction.
        keys: of the ledger, with everyone who ever was an officer.
        accountant: gives the figures at which alerts were rung, without any library.

    Raises:
        StateCorrupt: naming the table and the first entry that differs.
    """
    derived = _Derived(keys, accountant)
    query = select(leaves.c.position, leaves.c.data).where(leaves.c.log == GOVERNANCE)
    for position, data in connection.execute(query.order_by(leaves.c.position)):
        try:
            derived.follow(GovernanceEntry.parse(data), position)
        except (PrivacyError, ServerError, KeyError) as error:
            raise StateCorrupt(f"governance entry {position}: {error}") from None
    derived.finish()
    for table in _TABLES:
        expected = derived.rows[table.name]
        for row in connection.execute(select(table)):
            stored = dict(row._mapping)  # pyright: ignore[reportPrivateUsage]
            key = _key(table, stored)
            if expected.pop(key, None) != stored:
                raise _differs(table, key, "its row is not what the governance log says")
        for key in expected:
            if table is account_standings and key in derived.unchanged:
                continue  # of a database from before there were standings: as it was opened
            raise _differs(table, key, "is in the governance log but has no row")


class _Derived:
    """The rows that a log gives."""

    def __init__(self, keys: PublicKeys, accountant: Accountant) -> None:
        self.rows: dict[str, dict[_Key, dict[str, Any]]] = {one.name: {} for one in _TABLES}
        self.unchanged: set[_Key] = set()
        self._accountant = accountant
        self._standings: dict[str, AccountStanding] = {}
        self._proposals: dict[str, Proposal] = {}
        self._held: dict[str, list[Reservation]] = {}
        self._spends: dict[str, ReplayedSpends] = {}
        self._account_of: dict[str, str] = {}  # by reservation
        self._replay = AccountReplay(
            self._standings,
            self._proposals,
            self._held,
            officers_of(keys.principals),
            keys.identity,
        )
        self._steps: dict[str, Callable[[GovernanceEntry, int], None]] = {
            "notice": self._notice,
            "account": self._open,
            "account.change": self._propose,
            "account.approval": self._decide,
            "account.rejection": self._decide,
            "task": self._task,
            "budget.reserve": self._reserve,
            "budget.commit": self._settle,
            "budget.abort": self._settle,
            "round": self._round,
            "release": self._release,
            "audit": self._audit,
            "consent.map": self._map_epoch,
            "retraining": self._retraining,
        }
        if missing := KIND_ROLES.keys() ^ self._steps.keys():
            # Else the first such entry would keep its node from ever starting again.
            raise NotImplementedError(f"no rows are derived from {', '.join(sorted(missing))}")

    def follow(self, entry: GovernanceEntry, position: int) -> None:
        """Add what one entry of the log establishes."""
        self._steps[entry.kind](entry, position)

    def finish(self) -> None:
        """Add what accounts stand at in the end."""
        for account_id, standing in self._standings.items():
            self._put(account_standings, standing_row(standing))
            if not standing.revision and not standing.alerts:
                self.unchanged.add((account_id,))

    def _put(self, table: Table, row: Mapping[str, Any]) -> None:
        self.rows[table.name][_key(table, row)] = dict(row)

    def _notice(self, entry: GovernanceEntry, position: int) -> None:
        notice = NoticeDocument.from_json(entry.body)
        self._put(
            notices,
            {
                "notice_id": notice.notice_id,
                "version": notice.version,
                "language": notice.language,
                "sha256": notice.text_digest(),
                "position": position,
            },
        )

    def _open(self, entry: GovernanceEntry, position: int) -> None:
        self._replay.open(entry)
        account_id = AccountDocument.from_json(entry.body).account_id
        self._put(accounts, {"account_id": account_id} | _document(entry, position))

    def _propose(self, entry: GovernanceEntry, position: int) -> None:
        self._replay.propose(entry)
        proposal = self._proposals[entry.body_digest().hex()]
        self._put(
            account_changes,
            {
                "change_sha256": proposal.sha256,
                "account_id": proposal.document.account_id,
                "entry": entry.to_bytes(),
                "position": position,
                "state": proposal.state.value,
                "decided_by": "",
                "decided_at_ms": 0,
                "decision_position": None,
            },
        )

    def _decide(self, entry: GovernanceEntry, position: int) -> None:
        if entry.kind == "account.approval":
            self._replay.approve(entry)
        else:
            self._replay.reject(entry)
        proposal = self._proposals[str(entry.body["change_sha256"])]
        self.rows[account_changes.name][(proposal.sha256,)] |= {
            "state": proposal.state.value,
            "decided_by": proposal.decided_by,
            "decided_at_ms": proposal.decided_at_ms,
            "decision_position": position,
        }

    def _task(self, entry: GovernanceEntry, position: int) -> None:
        task = TaskManifest.from_json(entry.body)
        named = {"task_sha256": task.digest().hex(), "task_id": task.task_id}
        self._put(tasks, named | _document(entry, position))

    def _round(self, entry: GovernanceEntry, position: int) -> None:
        record = RoundRecord.from_json(entry.body)
        named = {"task_sha256": record.task_sha256, "round_id": record.round_id}
        self._put(rounds, named | _document(entry, position))

    def _release(self, entry: GovernanceEntry, position: int) -> None:
        release = ReleaseManifest.from_json(entry.body)
        named = {"population": release.population, "version": release.version}
        self._put(releases, named | _document(entry, position))

    def _audit(self, entry: GovernanceEntry, position: int) -> None:
        digest = AuditDocument.from_json(entry.body).report_sha256
        self._put(audits, {"report_sha256": digest} | _document(entry, position))

    def _retraining(self, entry: GovernanceEntry, position: int) -> None:
        announced = Retraining.from_json(entry.body)
        named = {"retraining_sha256": announced.digest(), "population": announced.population}
        self._put(retrainings, named | _document(entry, position))

    def _map_epoch(self, entry: GovernanceEntry, position: int) -> None:
        epoch = MapEpoch.from_json(entry.body)
        self._put(
            map_epochs,
            {
                "epoch": epoch.epoch,
                "consent_size": epoch.consent_size,
                "map_root": bytes.fromhex(epoch.map_root),
                "position": position,
            },
        )

    def _reserve(self, entry: GovernanceEntry, position: int) -> None:
        new = reservation_of(ReserveDocument.from_json(entry.body))
        name, standing = new.account_id, self._standings[new.account_id]
        if name not in self._spends:
            self._spends[name] = ReplayedSpends(self._held[name], standing)
        spends = self._spends[name]
        spends.add(new, standing)
        self._account_of[new.reservation_id] = name
        account = standing.account
        if account.alert_thresholds:
            epsilon = self._accountant.figure(spends.window(standing).sums, account.target_delta)
            self._standings[name] = standing.alerted(epsilon, new.reservation_id)

    def _settle(self, entry: GovernanceEntry, position: int) -> None:
        name = str(entry.body["reservation_id"])
        account_id = self._account_of[name]
        spends = self._spends[account_id]
        if entry.kind == "budget.commit":
            digest = CommitDocument.from_json(entry.body).release_sha256
            moved = rules.commit(spends.get(name), digest)
        else:
            AbortDocument.from_json(entry.body)
            moved = rules.abort(spends.get(name))
        spends.settle(moved, self._standings[account_id])


def _document(entry: GovernanceEntry, position: int) -> dict[str, Any]:
    return {"body": canonical_json(entry.body), "position": position}


def _key(table: Table, row: Mapping[str, Any]) -> _Key:
    return tuple(row[column.name] for column in table.primary_key.columns)


def _differs(table: Table, key: _Key, what: str) -> StateCorrupt:
    name = " ".join(str(part) for part in key)
    return StateCorrupt(f"table {table.name}, entry {name}: {what}; restore the database")
