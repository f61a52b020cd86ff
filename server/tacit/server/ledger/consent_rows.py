"""Rows of devices' consent chains, read and written for many devices by one statement each."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, Insert, Update, bindparam, insert, select, update

from tacit.privacy.consent import ConsentEvent, event_digest
from tacit.privacy.consent_map import map_key, map_value
from tacit.server.ledger.tables import consent_events, consent_states, map_entries, subjects

# Built once: building a statement costs as much as running it.
_NAMED: BindParameter[list[str]] = bindparam("named", expanding=True)
_SUBJECTS = select(
    subjects.c.device_id, subjects.c.key, subjects.c.sequence, subjects.c.last_digest
).where(subjects.c.device_id.in_(_NAMED))
_FIRST_EVENTS = select(consent_events.c.device_id, consent_events.c.sealed).where(
    consent_events.c.device_id.in_(_NAMED), consent_events.c.sequence == 1
)
_EVENT = select(consent_events.c.position, consent_events.c.sealed).where(
    consent_events.c.device_id == bindparam("device"),
    consent_events.c.sequence == bindparam("number"),
)
_ADD_SUBJECT = insert(subjects)
_MOVE_SUBJECT = (
    update(subjects)
    .where(subjects.c.device_id == bindparam("device"))
    .values(sequence=bindparam("sequence"), last_digest=bindparam("last_digest"))
)
_ADD_EVENT = insert(consent_events)
_STATES = select(consent_states.c.device_id, consent_states.c.purpose).where(
    consent_states.c.device_id.in_(_NAMED)
)
_ADD_STATE = insert(consent_states)
_MOVE_STATE = (
    update(consent_states)
    .where(
        consent_states.c.device_id == bindparam("device"),
        consent_states.c.purpose == bindparam("of"),
    )
    .values(signals=bindparam("signals"), valid_until_ms=bindparam("valid_until_ms"))
)
_ENTRIES = select(map_entries.c.device_id, map_entries.c.purpose).where(
    map_entries.c.device_id.in_(_NAMED)
)
_ADD_ENTRY = insert(map_entries)
_MOVE_ENTRY = (
    update(map_entries)
    .where(
        map_entries.c.device_id == bindparam("device"),
        map_entries.c.purpose == bindparam("of"),
    )
    .values(key=bindparam("key"), value=bindparam("value"), position=bindparam("position"))
)

_Row = dict[str, Any]


class Chain(NamedTuple):
    """What is stored of a device's chain.

    Attributes:
        key: the subject's key, wrapped; empty once erased.
        sequence, last_digest: of its newest event.
        first: its first event, sealed; empty where it is not there.
    """

    key: bytes
    sequence: int
    last_digest: str
    first: bytes


class Link(NamedTuple):
    """An event that continues its device's chain, with all that is recorded of it.

    Attributes:
        device_id, event, event_bytes: the event.
        new_key: the subject's wrapped key if the chain begins with this event, else None.
        sealed: the event as it is stored.
        position, leaf: in the consent log.
        blinding: the device's key of the current-state map.
    """

    device_id: str
    event: ConsentEvent
    event_bytes: bytes
    new_key: bytes | None
    sealed: bytes
    position: int
    leaf: bytes
    blinding: bytes


def load_chains(connection: Connection, device_ids: Sequence[str]) -> dict[str, Chain]:
    """Return the chains of those devices that have one."""
    named = {"named": list(device_ids)}
    rows = connection.execute(_SUBJECTS, named).all()
    firsts: dict[str, bytes] = {}
    if rows:
        firsts = {row.device_id: row.sealed for row in connection.execute(_FIRST_EVENTS, named)}
    return {
        row.device_id: Chain(row.key, row.sequence, row.last_digest, firsts.get(row.device_id, b""))
        for row in rows
    }


def load_event(connection: Connection, device_id: str, sequence: int) -> tuple[int, bytes] | None:
    """Return (position, sealed event), None if it is not there."""
    found = {"device": device_id, "number": sequence}
    row = connection.execute(_EVENT, found).one_or_none()
    return None if row is None else (row.position, row.sealed)


def write_links(connection: Connection, links: Sequence[Link]) -> None:
    """Write all rows of events of different devices."""
    added = [
        {"device_id": one.device_id, "key": one.new_key, **_moved(one)}
        for one in links
        if one.new_key is not None
    ]
    moved = [{"device": one.device_id, **_moved(one)} for one in links if one.new_key is None]
    if added:
        connection.execute(_ADD_SUBJECT, added)
    if moved:
        connection.execute(_MOVE_SUBJECT, moved)
    events = [
        {
            "device_id": one.device_id,
            "sequence": one.event.seq,
            "position": one.position,
            "sealed": one.sealed,
        }
        for one in links
    ]
    connection.execute(_ADD_EVENT, events)
    old = [one.device_id for one in links if one.new_key is None]
    states, entries = set[tuple[str, str]](), set[tuple[str, str]]()
    if old:
        states = {(row[0], row[1]) for row in connection.execute(_STATES, {"named": old})}
        entries = {(row[0], row[1]) for row in connection.execute(_ENTRIES, {"named": old})}
    _put(connection, _ADD_STATE, _MOVE_STATE, states, [(one, _state(one)) for one in links])
    _put(
        connection,
        _ADD_ENTRY,
        _MOVE_ENTRY,
        entries,
        [
            (one, _entry_of(one.event.purpose, one.blinding, one.position, one.leaf))
            for one in links
        ],
    )


def write_entry(
    connection: Connection,
    device_id: str,
    purpose: str,
    blinding: bytes,
    position: int,
    leaf: bytes,
) -> None:
    """Have the current-state map name a leaf as the device's latest decision of a purpose."""
    entry = _entry_of(purpose, blinding, position, leaf)
    mine = {"device": device_id, "of": purpose}
    if not connection.execute(_MOVE_ENTRY, mine | entry).rowcount:
        connection.execute(_ADD_ENTRY, {"device_id": device_id, "purpose": purpose} | entry)


def _put(
    connection: Connection,
    add: Insert,
    move: Update,
    there: AbstractSet[tuple[str, str]],
    values: Sequence[tuple[Link, _Row]],
) -> None:
    """Write one row for each device and purpose: a new one, or over the one that is there."""
    new: list[_Row] = []
    old: list[_Row] = []
    for one, row in values:
        device_id, purpose = one.device_id, one.event.purpose
        if (device_id, purpose) in there:
            old.append({"device": device_id, "of": purpose} | row)
        else:
            new.append({"device_id": device_id, "purpose": purpose} | row)
    if new:
        connection.execute(add, new)
    if old:
        connection.execute(move, old)


def _moved(one: Link) -> _Row:
    return {"sequence": one.event.seq, "last_digest": event_digest(one.event_bytes)}


def _state(one: Link) -> _Row:
    # Expiry is applied when states are read; everything else is settled here.
    granted = one.event.granted(one.event.event_time_ms)
    return {"signals": " ".join(sorted(granted)), "valid_until_ms": one.event.valid_until_ms}


def _entry_of(purpose: str, blinding: bytes, position: int, leaf: bytes) -> _Row:
    return {
        "key": map_key(blinding, purpose),
        "value": map_value(blinding, position, leaf),
        "position": position,
    }
