"""Reservations on disk: the row and its governance leaf in one transaction, before any reply."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from tacit.privacy import budget as rules
from tacit.privacy.accounting import EpsilonClaim
from tacit.privacy.budget import BudgetAccount, Reservation, ReservationState
from tacit.privacy.budget_documents import (
    AbortDocument,
    CommitDocument,
    ReserveDocument,
)
from tacit.privacy.budget_standing import AccountStanding, Alert
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.errors import BudgetConflict, BudgetExceeded
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.budget.accountant import Accountant, same_epsilon
from tacit.server.budget.standing import load_standing, save_standing
from tacit.server.errors import AlreadyExists, Exhausted, FailedPrecondition, NotFound
from tacit.server.ledger.log import Logs
from tacit.server.ledger.tables import reservations, tasks

logger = logging.getLogger("tacit.ledger")


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
    """

    def __init__(self, logs: Logs, accountant: Accountant) -> None:
        self._logs = logs
        self._accountant = accountant

    def reserve(self, entry: GovernanceEntry, now_ms: int) -> Spent:
        """Reserve the spend of one round; the same key and body again give the first answer.

        Raises:
            BadDocument: if the body is malformed.
            NotFound: if account or task are unknown.
            FailedPrecondition: if the task does not pay from this account, has expired, plans
                another noise multiplier for the round, or has spent on the round before.
            AlreadyExists: if the key or the id stands for another reservation.
            Exhausted: if the cap or the quota would be passed; nothing is recorded then.
        """
        document = ReserveDocument.from_json(entry.body)
        new = reservation_of(document)
        self._accountant.wait_until_ready()
        with self._logs.writing() as connection:
            standing = load_standing(connection, document.account_id)
            account = standing.account
            existing = load_reservations(connection, document.account_id)
            try:
                replayed = rules.find_replay(existing, new)
                if replayed is None:
                    _check_task(connection, document, account, now_ms)
                    _check_id_is_free(connection, document.reservation_id)
                    spent = {one.reservation_id for one in existing if one.counts}
                    of_round = reservations_of_task(
                        connection, document.task_sha256, document.round_id
                    )
                    check_round_is_free(document, spent & of_round)
                window = standing.in_window(existing)
                claim = rules.admit(account, existing, new, self._accountant.claim, window)
            except BudgetConflict as error:
                raise AlreadyExists(f"{document.reservation_id}: {error}") from None
            except BudgetExceeded as error:
                raise Exhausted(f"account {account.account_id}: {error}") from None
            if replayed is not None:
                return self._spent(connection, replayed, standing, existing)
            after = standing.alerted(claim.epsilon, new.reservation_id)
            if after != standing:
                save_standing(connection, after)
            connection.execute(
                insert(reservations),
                {
                    "reservation_id": new.reservation_id,
                    "account_id": new.account_id,
                    "idempotency_key": new.idempotency_key,
                    "body": document.to_bytes(),
                    "state": new.state.value,
                    "release_sha256": "",
                },
            )
            self._logs.governance.append(connection, entry.to_bytes())
            answer = self._spent(connection, new, after, [*existing, new])
        for alert in answer.alerts:
            logger.warning(
                "account %s, window %d: %s", account.account_id, after.window, alert.sentence()
            )
        return answer

    def commit(self, entry: GovernanceEntry) -> Spent:
        """Record that a reserved spend was used for one noised sum.

        Raises:
            BadDocument: if the body is malformed.
            NotFound: if there is no such reservation.
            FailedPrecondition: if it was aborted, paid for another sum, or the stated ε is not
                that of the account.
        """
        document = CommitDocument.from_json(entry.body)
        self._accountant.wait_until_ready()
        with self._logs.writing() as connection:
            held = _load_reservation(connection, document.reservation_id)
            account = load_account(connection, held.account_id)
            claim = self._account_claim(connection, account)
            try:
                committed = rules.commit(held, document.release_sha256)
            except BudgetConflict as error:
                raise FailedPrecondition(f"{held.reservation_id}: {error}") from None
            if committed == held:
                return self._spent(connection, held)
            if document.target_delta != account.target_delta or not same_epsilon(
                document.epsilon, claim.epsilon
            ):
                raise FailedPrecondition(
                    f"{held.reservation_id}: expected epsilon {claim.epsilon!r} at delta "
                    f"{account.target_delta!r}, got {document.epsilon!r} at "
                    f"{document.target_delta!r}"
                )
            self._move(connection, committed, entry)
            return self._spent(connection, committed)

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
            held = _load_reservation(connection, document.reservation_id)
            try:
                aborted = rules.abort(held)
            except BudgetConflict as error:
                raise FailedPrecondition(f"{held.reservation_id}: {error}") from None
            if aborted != held:
                self._move(connection, aborted, entry)
            return self._spent(connection, aborted)

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
            standing = load_standing(connection, account_id)
            held = load_reservations(connection, account_id)
        return standing, held, *self._claims(standing, held)

    def _spent(
        self,
        connection: Connection,
        reservation: Reservation,
        standing: AccountStanding | None = None,
        held: list[Reservation] | None = None,
    ) -> Spent:
        """Return the answer about a reservation, as its account stands in this transaction."""
        standing = standing or load_standing(connection, reservation.account_id)
        held = held or load_reservations(connection, reservation.account_id)
        lifetime, window = self._claims(standing, held)
        return Spent(reservation, lifetime, window, standing)

    def _claims(
        self, standing: AccountStanding, held: list[Reservation]
    ) -> tuple[EpsilonClaim, EpsilonClaim]:
        delta = standing.account.target_delta
        lifetime = self._accountant.claim(rules.composed_events(held), delta)
        counted = rules.composed_events(standing.in_window(held))
        return lifetime, self._accountant.claim(counted, delta)

    def _account_claim(self, connection: Connection, account: BudgetAccount) -> EpsilonClaim:
        events = rules.composed_events(load_reservations(connection, account.account_id))
        return self._accountant.claim(events, account.target_delta)

    def _move(self, connection: Connection, moved: Reservation, entry: GovernanceEntry) -> None:
        connection.execute(
            update(reservations)
            .where(reservations.c.reservation_id == moved.reservation_id)
            .values(state=moved.state.value, release_sha256=moved.release_sha256 or "")
        )
        self._logs.governance.append(connection, entry.to_bytes())


def reservation_of(document: ReserveDocument) -> Reservation:
    """Return the reservation a document asks for, in state reserved."""
    return Reservation(
        reservation_id=document.reservation_id,
        account_id=document.account_id,
        purpose=document.purpose,
        idempotency_key=document.idempotency_key,
        body_sha256=hashlib.sha256(document.to_bytes()).hexdigest(),
        events=(document.event,),
    )


def check_planned(document: ReserveDocument, account: BudgetAccount, task: TaskManifest) -> None:
    """Check that a task plans exactly this spend on this account.

    Raises:
        FailedPrecondition: naming what differs.
    """
    if task.trust_level == CONSENT_ONLY:
        raise FailedPrecondition(f"task {task.task_id}: trust level consent-only spends nothing")
    if (task.budget_account, task.purpose) != (document.account_id, document.purpose):
        raise FailedPrecondition(f"task {task.task_id}: pays from another account or purpose")
    if task.population != account.population or task.target_delta != account.target_delta:
        raise FailedPrecondition(f"task {task.task_id}: of another population or delta")
    plan = {plan.round_id: plan for plan in task.rounds}.get(document.round_id)
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


def load_account(connection: Connection, account_id: str) -> BudgetAccount:
    """Read an account under the terms in force; raises `NotFound`."""
    return load_standing(connection, account_id).account


def load_reservations(connection: Connection, account_id: str) -> list[Reservation]:
    """Read every reservation of an account, in order of reservation."""
    query = (
        select(reservations.c.body, reservations.c.state, reservations.c.release_sha256)
        .where(reservations.c.account_id == account_id)
        .order_by(reservations.c.ordinal)
    )
    return [_restore(*row) for row in connection.execute(query)]


def reservations_of_task(
    connection: Connection, task_sha256: str, round_id: int | None = None
) -> set[str]:
    """Return the names of a task's reservations in any state, of one round if one is named."""
    documents = [
        ReserveDocument.from_json(parse_canonical(body))
        for body in connection.execute(select(reservations.c.body)).scalars()
    ]
    return {
        one.reservation_id
        for one in documents
        if one.task_sha256 == task_sha256 and round_id in (None, one.round_id)
    }


def _load_reservation(connection: Connection, reservation_id: str) -> Reservation:
    query = select(reservations.c.body, reservations.c.state, reservations.c.release_sha256).where(
        reservations.c.reservation_id == reservation_id
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"there is no reservation {reservation_id}")
    return _restore(*row)


def _restore(body: bytes, state: str, release_sha256: str) -> Reservation:
    reserved = reservation_of(ReserveDocument.from_json(parse_canonical(body)))
    if state == ReservationState.COMMITTED:
        return rules.commit(reserved, release_sha256)
    return rules.abort(reserved) if state == ReservationState.ABORTED else reserved


def _check_task(
    connection: Connection, document: ReserveDocument, account: BudgetAccount, now_ms: int
) -> None:
    body = connection.execute(
        select(tasks.c.body).where(tasks.c.task_sha256 == document.task_sha256)
    ).scalar_one_or_none()
    if body is None:
        raise NotFound("the reservation names a task that is not in the governance log")
    task = TaskManifest.from_json(parse_canonical(body))
    if now_ms >= task.expires_at_ms:
        raise FailedPrecondition(f"task {task.task_id}: has expired")
    check_planned(document, account, task)


def _check_id_is_free(connection: Connection, reservation_id: str) -> None:
    query = select(reservations.c.ordinal).where(reservations.c.reservation_id == reservation_id)
    if connection.execute(query).first() is not None:
        raise AlreadyExists(f"{reservation_id}: the reservation id is taken")
