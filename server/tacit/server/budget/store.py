"""Reservations on disk: the row and its governance leaf in one transaction, before any reply."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from tacit.privacy import budget as rules
from tacit.privacy.accounting import EpsilonClaim, GaussianEvent
from tacit.privacy.budget import BudgetAccount, Reservation
from tacit.privacy.budget_documents import (
    AbortDocument,
    CommitDocument,
    ReserveDocument,
)
from tacit.privacy.budget_standing import AccountStanding, Alert
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.errors import BadDocument, BudgetConflict, BudgetExceeded
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.budget.accountant import Accountant, same_epsilon
from tacit.server.budget.composition import Composition
from tacit.server.budget.log_check import check_rows_follow_log
from tacit.server.budget.rows import (
    add_row,
    id_is_taken,
    load_alike,
    load_reservation,
    load_reservations,
    load_rows,
    settle_row,
    spent_on_round,
)
from tacit.server.budget.rows import reservation_of as reservation_of
from tacit.server.budget.standing import load_standing, save_standing
from tacit.server.errors import AlreadyExists, Exhausted, FailedPrecondition, NotFound
from tacit.server.ledger.database import retried
from tacit.server.ledger.level_rules import check_allowed
from tacit.server.ledger.log import Logs
from tacit.server.ledger.tables import tasks

logger = logging.getLogger("tacit.ledger")

_REMEMBERED_TASKS = 64


@dataclass(frozen=True, slots=True)
class Spent:
    """The answer to every budget request.

    Attributes:
        reservation: as it stands now.
        claim: lifetime ε: of everything reserved or committed on its account, ever.
        window: ε of what counts in the current window.
        standing: the account's terms and window.
    """

    reservation: Reservation
    claim: EpsilonClaim
    window: EpsilonClaim
    standing: AccountStanding

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Thresholds that this reservation made the window reach."""
        return self.standing.alerts_of(self.reservation.reservation_id)


class BudgetStore:
    """Apply `tacit.privacy.budget` to stored reservations.

    Reservations of all accounts are decided one after another inside `Logs.writing`, so the sum of
    what is admitted never passes a cap. A spend is durable, as a row and as a leaf of the
    governance log, before the caller learns that it was admitted.

    What an account's rows compose to is kept in memory between transactions, because reading them
    all for every spend would take time quadratic in their number. Only committed transactions
    leave it standing: after one that failed, it is read from the rows again.
    """

    def __init__(self, logs: Logs, accountant: Accountant) -> None:
        """Hold the stored reservations against the log; raises `StateCorrupt` if they differ."""
        self._logs = logs
        self._accountant = accountant
        # Both owned by whoever is inside `Logs.writing`.
        self._compositions: dict[str, Composition] = {}
        self._tasks: dict[str, TaskManifest] = {}
        self._moved = False
        logs.on_rollback(self._forget)
        logs.on_loss(self._forget_all)
        with logs.database.reading() as connection:
            check_rows_follow_log(connection)

    @retried
    def reserve(self, entry: GovernanceEntry, now_ms: int) -> Spent:
        """Reserve the spend of one round; the same key and body again give the first answer.

        Raises:
            BadDocument: if the body is malformed.
            NotFound: if account or task are unknown.
            FailedPrecondition: if the task does not pay from this account, is of a trust level
                that the terms in force do not allow, has expired, plans another noise multiplier
                for the round, or has spent on the round before.
            AlreadyExists: if the key or the id stands for another reservation.
            Exhausted: if the cap or the quota would be passed; nothing is recorded then.
        """
        document = ReserveDocument.from_json(entry.body)
        new = reservation_of(document)
        self._accountant.wait_until_ready()
        with self._logs.writing() as connection:
            standing = load_standing(connection, document.account_id, self._logs.identity)
            account = standing.account
            composition = self._composition(connection, standing)
            # All that its name and key can collide with; the rest only has to be composed.
            alike = load_alike(connection, new)
            try:
                replayed = rules.find_replay(alike, new)
                if replayed is None:
                    self._check_task(connection, document, account, now_ms)
                    if id_is_taken(connection, document.reservation_id):
                        raise AlreadyExists(f"{document.reservation_id}: the id is taken")
                    check_round_is_free(document, spent_on_round(connection, document))
                counted = composition.folded_window()
                claim = rules.admit(account, alike, new, self._accountant.running_claim, counted)
            except BudgetConflict as error:
                raise AlreadyExists(f"{document.reservation_id}: {error}") from None
            except BudgetExceeded as error:
                raise Exhausted(f"account {account.account_id}: {error}") from None
            if replayed is not None:
                return self._spent(replayed, standing, composition, as_answered=True)
            position = self._logs.governance.append(connection, entry.to_bytes())
            add_row(connection, document, position)
            after = standing.alerted(claim.epsilon, new.reservation_id)
            if after != standing:
                save_standing(connection, after)
            self._moved = True
            composition.reserved(new)
            answer = self._spent(new, after, composition)
        for alert in answer.alerts:
            logger.warning(
                "account %s, window %d: %s", account.account_id, after.window, alert.sentence()
            )
        return answer

    @retried
    def commit(self, entry: GovernanceEntry) -> Spent:
        """Record that a reserved spend was used for one noised sum.

        The stated ε is that of the account as the reservation left it, which no other spend can
        change, or as it is now.

        Raises:
            BadDocument: if the body is malformed.
            NotFound: if there is no such reservation.
            FailedPrecondition: if it was aborted, paid for another sum, or the stated ε is not
                that of the account.
        """
        document = CommitDocument.from_json(entry.body)
        self._accountant.wait_until_ready()
        with self._logs.writing() as connection:
            held = load_reservation(connection, document.reservation_id)
            standing = load_standing(connection, held.account_id, self._logs.identity)
            account = standing.account
            composition = self._composition(connection, standing)
            try:
                committed = rules.commit(held, document.release_sha256)
            except BudgetConflict as error:
                raise FailedPrecondition(f"{held.reservation_id}: {error}") from None
            if committed == held:
                return self._spent(held, standing, composition)
            now = self._claim(composition.events(), account)
            as_reserved = self._as_answered(composition, held, account, now)
            if document.target_delta != account.target_delta or not (
                same_epsilon(document.epsilon, as_reserved.epsilon)
                or same_epsilon(document.epsilon, now.epsilon)
            ):
                raise FailedPrecondition(
                    f"{held.reservation_id}: expected epsilon {now.epsilon!r} at delta "
                    f"{account.target_delta!r}, got {document.epsilon!r} at "
                    f"{document.target_delta!r}"
                )
            self._settle(connection, committed, entry, composition)
            return self._spent(committed, standing, composition)

    @retried
    def abort(self, entry: GovernanceEntry) -> Spent:
        """Free a reservation whose noise was provably never drawn.

        Raises:
            BadDocument: if the body is malformed.
            NotFound: if there is no such reservation.
            FailedPrecondition: if it is committed.
        """
        document = AbortDocument.from_json(entry.body)
        self._accountant.wait_until_ready()
        with self._logs.writing() as connection:
            held = load_reservation(connection, document.reservation_id)
            standing = load_standing(connection, held.account_id, self._logs.identity)
            composition = self._composition(connection, standing)
            try:
                aborted = rules.abort(held)
            except BudgetConflict as error:
                raise FailedPrecondition(f"{held.reservation_id}: {error}") from None
            if aborted != held:
                self._settle(connection, aborted, entry, composition)
            return self._spent(aborted, standing, composition)

    def show(self, account_id: str) -> tuple[BudgetAccount, list[Reservation], EpsilonClaim]:
        """Return an account, its reservations in order, and what they spend in all.

        Raises:
            NotFound: if there is no such account.
        """
        standing, held, lifetime, _ = self.stand(account_id)
        return standing.account, held, lifetime

    def stand(
        self, account_id: str
    ) -> tuple[AccountStanding, list[Reservation], EpsilonClaim, EpsilonClaim]:
        """Return where an account stands, its reservations, and lifetime and window ε.

        Raises:
            NotFound: if there is no such account.
        """
        with self._logs.database.reading() as connection:
            standing = load_standing(connection, account_id, self._logs.identity)
            held = load_reservations(connection, account_id)
        lifetime = self._claim(rules.composed_events(held), standing.account)
        counted = rules.composed_events(standing.in_window(held))
        return standing, held, lifetime, self._claim(counted, standing.account)

    def _composition(self, connection: Connection, standing: AccountStanding) -> Composition:
        """Return what the account's rows compose to; inside a transaction only."""
        self._moved = False
        account_id = standing.account.account_id
        found = self._compositions.get(account_id)
        # A change of terms may move the window, and with it what counts in it.
        if found is None or found.revision != standing.revision:
            found = Composition(standing, load_rows(connection, account_id))
            self._compositions[account_id] = found
        return found

    def _spent(
        self,
        reservation: Reservation,
        standing: AccountStanding,
        composition: Composition,
        *,
        as_answered: bool = False,
    ) -> Spent:
        """Return the answer about a reservation, as its account stands in this transaction."""
        account = standing.account
        lifetime = self._claim(composition.events(), account)
        if as_answered:
            lifetime = self._as_answered(composition, reservation, account, lifetime)
        window = self._claim(composition.window_events(), account)
        return Spent(reservation, lifetime, window, standing)

    def _forget(self) -> None:
        # A refusal before anything was counted leaves what was read as it is.
        if self._moved:
            self._compositions.clear()

    def _forget_all(self) -> None:
        self._compositions.clear()
        self._tasks.clear()

    def _claim(self, events: Sequence[GaussianEvent], account: BudgetAccount) -> EpsilonClaim:
        return self._accountant.running_claim(events, account.target_delta)

    def _as_answered(
        self,
        composition: Composition,
        held: Reservation,
        account: BudgetAccount,
        claim: EpsilonClaim,
    ) -> EpsilonClaim:
        """Return what the account had spent when an open reservation was answered first."""
        events = composition.as_reserved(held.reservation_id)
        return claim if events is None else self._claim(events, account)

    def _settle(
        self,
        connection: Connection,
        moved: Reservation,
        entry: GovernanceEntry,
        composition: Composition,
    ) -> None:
        position = self._logs.governance.append(connection, entry.to_bytes())
        settle_row(connection, moved, position)
        self._moved = True
        composition.settled(moved)

    def _check_task(
        self, connection: Connection, document: ReserveDocument, account: BudgetAccount, now_ms: int
    ) -> None:
        task = self._tasks.get(document.task_sha256)
        if task is None:
            body = connection.execute(
                select(tasks.c.body).where(tasks.c.task_sha256 == document.task_sha256)
            ).scalar_one_or_none()
            if body is None:
                raise NotFound("the reservation names a task that is not in the governance log")
            task = TaskManifest.from_json(parse_canonical(body))
            # Tasks are append-only, and named by their digest: what was read stays true.
            if len(self._tasks) >= _REMEMBERED_TASKS:
                self._tasks.pop(next(iter(self._tasks)))
            self._tasks[document.task_sha256] = task
        if now_ms >= task.expires_at_ms:
            raise FailedPrecondition(f"task {task.task_id}: has expired")
        check_planned(document, account, task)


def check_planned(document: ReserveDocument, account: BudgetAccount, task: TaskManifest) -> None:
    """Check that a task plans exactly this spend on this account, at a level its terms allow now.

    Raises:
        FailedPrecondition: naming what differs.
    """
    if task.trust_level == CONSENT_ONLY:
        raise FailedPrecondition(f"task {task.task_id}: trust level consent-only spends nothing")
    if (task.budget_account, task.purpose) != (document.account_id, document.purpose):
        raise FailedPrecondition(f"task {task.task_id}: pays from another account or purpose")
    if task.population != account.population or task.target_delta != account.target_delta:
        raise FailedPrecondition(f"task {task.task_id}: of another population or delta")
    check_allowed(task, account)
    try:
        plan = task.round_plan(document.round_id)
    except BadDocument:
        plan = None
    planned = None if plan is None else task.event(plan)
    if plan is None or planned is None:
        raise FailedPrecondition(f"task {task.task_id}: has no round {document.round_id}")
    event, where = document.event, f"task {task.task_id}, round {document.round_id}"
    if event.trust_level != planned.trust_level:
        raise FailedPrecondition(
            f"{where}: expected an event of trust level {planned.trust_level}, got "
            f"{event.trust_level}"
        )
    if event.noise_multiplier != planned.noise_multiplier:
        raise FailedPrecondition(
            f"{where}: expected noise multiplier "
            f"{planned.noise_multiplier!r}, got {event.noise_multiplier!r}"
        )
    # An event at level central that names no sensitivity has that of its round.
    sensitivity = planned.sensitivity or plan.integer_norm
    if (event.sensitivity or plan.integer_norm) != sensitivity:
        raise FailedPrecondition(
            f"{where}: expected sensitivity {sensitivity}, got {event.sensitivity}"
        )


def check_round_is_free(document: ReserveDocument, spent_on_round: set[str]) -> None:
    """Check that nothing was spent on this round: a round is released once.

    A device charges itself once for a round, and a task states the ε of each round once; a second
    noised sum of the same contributions would cost them what neither reckoned with.

    Args:
        document: what is asked for.
        spent_on_round: names of reserved or committed reservations of the same task and round.

    Raises:
        FailedPrecondition: if there is one.
    """
    if spent_on_round:
        raise FailedPrecondition(
            f"{document.reservation_id}: round {document.round_id} of its task was reserved before"
        )
