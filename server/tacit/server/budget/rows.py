"""Reservations as rows: what is written of one, and how rows become reservations again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from tacit.privacy import budget as rules
from tacit.privacy.budget import Reservation, ReservationState
from tacit.privacy.budget_documents import ReserveDocument
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.errors import PrivacyError
from tacit.server.budget.composition import ReservationRow
from tacit.server.errors import NotFound, StateCorrupt
from tacit.server.ledger.tables import reservations

_ABORTED = ReservationState.ABORTED.value
_MAX_NAMED = 500
_ADD = insert(reservations)
_SETTLE = (
    update(reservations)
    .where(reservations.c.reservation_id == bindparam("id"))
    .values(
        state=bindparam("state"),
        settled_at=bindparam("settled_at"),
        release_sha256=bindparam("release_sha256"),
    )
)
_COLUMNS = select(
    reservations.c.body,
    reservations.c.state,
    reservations.c.release_sha256,
    reservations.c.position,
    reservations.c.settled_at,
    reservations.c.reservation_id,
    reservations.c.account_id,
    reservations.c.idempotency_key,
    reservations.c.purpose,
    reservations.c.task_sha256,
    reservations.c.round_id,
    reservations.c.noise_multiplier,
)
_OF_ACCOUNT = _COLUMNS.where(reservations.c.account_id == bindparam("account")).order_by(
    reservations.c.position
)
_NAMED = _COLUMNS.where(reservations.c.reservation_id == bindparam("id"))
# Two look-ups by unique keys, never one with `or`: PostgreSQL reads the whole account for that.
_OF_KEY = _COLUMNS.where(
    reservations.c.account_id == bindparam("account"),
    reservations.c.idempotency_key == bindparam("key"),
)
_OF_ID = _COLUMNS.where(
    reservations.c.account_id == bindparam("account"),
    reservations.c.reservation_id == bindparam("id"),
)
_OF_TASK = select(reservations.c.reservation_id).where(
    reservations.c.task_sha256 == bindparam("task"),
    reservations.c.state != _ABORTED,
)
_SPENT_ON_ROUND = select(reservations.c.reservation_id).where(
    reservations.c.task_sha256 == bindparam("task"),
    reservations.c.round_id == bindparam("round"),
    reservations.c.account_id == bindparam("account"),
    reservations.c.state != _ABORTED,
)
_TAKEN = select(reservations.c.position).where(reservations.c.reservation_id == bindparam("id"))


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


def add_row(connection: Connection, document: ReserveDocument, position: int) -> None:
    """Write a new reservation, reserved by governance leaf `position`."""
    settled = {"position": position, "state": ReservationState.RESERVED.value}
    body = {"body": document.to_bytes(), "release_sha256": ""}
    connection.execute(_ADD, _derived(document) | body | settled)


def settle_row(connection: Connection, moved: Reservation, settled_at: int) -> None:
    """Write that governance leaf `settled_at` committed or aborted a reservation."""
    change = {"state": moved.state.value, "release_sha256": moved.release_sha256 or ""}
    named = {"id": moved.reservation_id, "settled_at": settled_at}
    connection.execute(_SETTLE, named | change)


def load_rows(connection: Connection, account_id: str) -> Iterator[ReservationRow]:
    """Read every reservation of an account in order, each held against its signed body.

    Raises:
        StateCorrupt: if a column says something else than the body it repeats.
    """
    for row in connection.execute(_OF_ACCOUNT, {"account": account_id}):
        yield _restore(row)


def load_reservations(connection: Connection, account_id: str) -> list[Reservation]:
    """Read every reservation of an account, in order of reservation."""
    return [row.reservation for row in load_rows(connection, account_id)]


def load_reservation(connection: Connection, reservation_id: str) -> Reservation:
    """Read one reservation; raises `NotFound`."""
    row = connection.execute(_NAMED, {"id": reservation_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no reservation {reservation_id}")
    return _restore(row).reservation


def load_named(
    connection: Connection, account_id: str, names: Collection[str]
) -> list[Reservation]:
    """Read those reservations of an account that have one of these names."""
    wanted = sorted(names)
    found: list[Reservation] = []
    for start in range(0, len(wanted), _MAX_NAMED):
        named = reservations.c.reservation_id.in_(wanted[start : start + _MAX_NAMED])
        query = _COLUMNS.where(reservations.c.account_id == account_id, named)
        found += [_restore(row).reservation for row in connection.execute(query)]
    return found


def load_alike(connection: Connection, new: Reservation) -> list[Reservation]:
    """Read those of the same account with the same key or name, in order; at most two."""
    of_account = {"account": new.account_id}
    found = [
        *connection.execute(_OF_KEY, of_account | {"key": new.idempotency_key}),
        *connection.execute(_OF_ID, of_account | {"id": new.reservation_id}),
    ]
    rows = {row.position: row for row in found}
    return [_restore(rows[position]).reservation for position in sorted(rows)]


def spent_on_task(connection: Connection, task_sha256: str) -> set[str]:
    """Return the names of a task's reservations that count: committed, or still open."""
    return set(connection.execute(_OF_TASK, {"task": task_sha256}).scalars())


def spent_on_round(connection: Connection, document: ReserveDocument) -> set[str]:
    """Return the names of what the account spent on the round that `document` is for."""
    values = {
        "task": document.task_sha256,
        "round": document.round_id,
        "account": document.account_id,
    }
    return set(connection.execute(_SPENT_ON_ROUND, values).scalars())


def id_is_taken(connection: Connection, reservation_id: str) -> bool:
    """Say whether any account has a reservation of this name."""
    return connection.execute(_TAKEN, {"id": reservation_id}).first() is not None


def _derived(document: ReserveDocument) -> dict[str, Any]:
    """Return the columns that repeat the body."""
    return {
        "reservation_id": document.reservation_id,
        "account_id": document.account_id,
        "idempotency_key": document.idempotency_key,
        "purpose": document.purpose,
        "task_sha256": document.task_sha256,
        "round_id": document.round_id,
        "noise_multiplier": document.event.noise_multiplier,
    }


def _restore(row: Any) -> ReservationRow:
    try:
        document = ReserveDocument.from_json(parse_canonical(row.body))
        reserved = reservation_of(document)
        if row.state == ReservationState.COMMITTED:
            reserved = rules.commit(reserved, row.release_sha256)
        elif row.state == _ABORTED:
            reserved = rules.abort(reserved)
        elif row.state != ReservationState.RESERVED:
            raise StateCorrupt(f"reservation {row.reservation_id}: unknown state")
    except PrivacyError as error:
        raise StateCorrupt(f"reservation {row.reservation_id}: {error}") from None
    for name, value in _derived(document).items():
        if getattr(row, name) != value:
            raise StateCorrupt(f"reservation {row.reservation_id}: {name} is not that of its body")
    return ReservationRow(reserved, row.position, row.settled_at)
