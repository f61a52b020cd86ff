"""Retraining at the ledger: note which tasks hold someone erased, announce, check, prove.

What is kept of an erasure is a set of tasks, for the whole ledger: no name, no number of persons,
no order. It is rewritten whole with each erasure, so that no row tells by its place or its
transaction whose erasure brought it. The first erasure's set is that person's; the operator, who
alone can ask (by announcing), learns it then, and so does everybody who reads the announcement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select

from tacit.privacy import budget as rules
from tacit.privacy.budget import Reservation
from tacit.privacy.canonical import canonical_json
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.lineage import Lineage
from tacit.privacy.release import KINDS
from tacit.privacy.retraining import ENTRY_KIND, MAX_REASON, MAX_TASKS, Retraining
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import TaskManifest
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.rows import load_reservations
from tacit.server.budget.standing import load_standing
from tacit.server.errors import FailedPrecondition, InvalidRequest, NotFound
from tacit.server.ledger.database import retried
from tacit.server.ledger.lineage_rows import LoadedLineage, load_lineage
from tacit.server.ledger.log import Logs
from tacit.server.ledger.tables import erased_tasks, retrainings


def note_erased(connection: Connection, tasks: Collection[str]) -> None:
    """Note, within an erasure's transaction, that somebody who took part in these tasks is gone."""
    held = set(connection.execute(select(erased_tasks.c.task_sha256)).scalars())
    if not tasks:
        return
    connection.execute(delete(erased_tasks))
    noted = [{"task_sha256": one} for one in sorted(held.union(tasks))]
    connection.execute(insert(erased_tasks), noted)


def releases_in_force(lineage: Lineage, tasks: Collection[str]) -> tuple[int, ...]:
    """Return the versions that rest on these tasks and were not superseded."""
    return lineage.versions(lineage.resting_on(tasks) - lineage.superseded_tasks())


class RetrainingStore:
    """Announce retrainings and find what proves them."""

    def __init__(self, logs: Logs, key: SigningKey) -> None:
        """Set up; `key` is the node's, which signs announcements."""
        self._logs = logs
        self._key = key

    @retried
    def announce(
        self, population: str, kind: str, reason: str, requested_by: str, now_ms: int
    ) -> int:
        """Announce that a population's releases of a kind are retrained; returns the entry's index.

        Nothing is superseded yet: that comes with the release. Announcing again before anything
        changed is answered with the same entry.

        Raises:
            InvalidRequest: if kind or reason cannot be used.
            NotFound: if the population has no task.
            FailedPrecondition: if no task of it rests on anybody who was erased.
        """
        if kind not in KINDS:
            raise InvalidRequest(f"retrain: expected a kind among {', '.join(KINDS)}")
        if not 1 <= len(reason) <= MAX_REASON:
            raise InvalidRequest(f"retrain: expected a reason of 1 to {MAX_REASON} characters")
        with self._logs.writing() as connection:
            lineage = load_lineage(connection, population).lineage
            if not lineage.tasks:
                raise NotFound(f"population {population} has no task")
            erased = set(connection.execute(select(erased_tasks.c.task_sha256)).scalars())
            affected = lineage.affected(erased, kind)
            if not affected:
                raise FailedPrecondition(
                    f"retrain: no {kind} release in force of population {population} rests on "
                    "anybody who was erased; there is nothing to retrain"
                )
            if len(affected) > MAX_TASKS:
                raise FailedPrecondition(
                    f"retrain: expected at most {MAX_TASKS} affected tasks, got {len(affected)}"
                )
            # With the leaves this batch holds already: its root is over those, and so is what is
            # read here of who was erased.
            consents = self._logs.consent
            announced = Retraining(
                population=population,
                kind=kind,
                tasks=affected,
                base_release=lineage.tasks[affected[0]].base_release,
                consent_size=consents.written,
                consent_root=consents.root().hex(),
                requested_by=requested_by,
                reason=reason,
            )
            digest, body = announced.digest(), announced.to_json()
            known = connection.execute(
                select(retrainings.c.position).where(retrainings.c.retraining_sha256 == digest)
            ).scalar_one_or_none()
            if known is not None:
                return int(known)
            entry = GovernanceEntry.sign(ENTRY_KIND, body, now_ms, self._key)
            position = self._logs.governance.append(connection, entry.to_bytes())
            connection.execute(
                insert(retrainings),
                {
                    "retraining_sha256": digest,
                    "population": population,
                    "body": canonical_json(body),
                    "position": position,
                },
            )
            return position

    def completed(self, population: str, after: int) -> list[list[int]]:
        """Return where the proofs of a population's completed retrainings stand in the log.

        Args:
            population: whose.
            after: leave out those whose release has an index below this.

        Returns:
            For each, indices of the announcement, the task, its first release, and then a release
            and its task for every base the task builds on.
        """
        with self._logs.database.reading() as connection:
            loaded = load_lineage(connection, population)
        found: list[list[int]] = []
        for version, release in loaded.lineage.releases.items():
            task = loaded.lineage.tasks[release.task_sha256]
            announced = loaded.retrainings.get(task.retrains)
            # Where one was retrained twice, what superseded is the first release alone.
            if announced is None or _earlier_release(loaded.lineage, task.retrains, version):
                continue
            if loaded.releases[version] >= after:
                places = [announced, loaded.tasks[release.task_sha256], loaded.releases[version]]
                found.append(places + _bases(loaded, task))
        return found


def check_affordable(
    connection: Connection, task: TaskManifest, logs: Logs, accountant: Accountant
) -> None:
    """Check that the account can pay for all rounds of a retraining before any device is asked.

    Each round is still reserved and admitted on its own; a retraining that could not be finished
    is not begun.

    Raises:
        NotFound: if there is no such account.
        BudgetExceeded: if the cap or the purpose's quota would be passed.
    """
    events = task.events()
    if not events:
        return
    standing = load_standing(connection, task.budget_account, logs.identity)
    held = load_reservations(connection, task.budget_account)
    digest = hashlib.sha256(canonical_json(task.to_json())).hexdigest()
    name = f"whole task {digest}"  # of no reservation: theirs are a task's name and a round
    whole = Reservation(name, task.budget_account, task.purpose, name, digest, events)
    rules.admit(standing.account, held, whole, accountant.claim, standing.in_window(held))


def _earlier_release(lineage: Lineage, retrains: str, version: int) -> bool:
    return any(
        other < version and lineage.tasks[one.task_sha256].retrains == retrains
        for other, one in lineage.releases.items()
    )


def _bases(loaded: LoadedLineage, task: TaskManifest) -> list[int]:
    places: list[int] = []
    while task.base_release:
        base = loaded.lineage.releases[task.base_release]
        places += [loaded.releases[base.version], loaded.tasks[base.task_sha256]]
        task = loaded.lineage.tasks[base.task_sha256]
    return places
