"""Hold the consent tables against the consent log, and devices against their keys, at the start.

A node decides by them who may be asked for what. Every event that is held must open, be the very
leaf of the log that it claims, and continue its device's chain; what a device allows, and its
entries of the current-state map, must be what its events left behind.

What cannot be seen here: enrolments are in no log, so of a device only that it is the one its key
names, and of the population that its token was made for; and where a device was erased, its leaves
have no events any more, so a whole chain that somebody deleted looks like one that was erased.
Where nothing was erased, every leaf must have its event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from sqlalchemy import Connection, func, select

from tacit.privacy.consent import NO_PREDECESSOR, ConsentEvent, check_continues, event_digest
from tacit.privacy.consent_map import blinding_key, map_key, map_value
from tacit.privacy.errors import PrivacyError
from tacit.privacy.receipt import leaf
from tacit.privacy.signatures import key_id
from tacit.server.errors import ServerError, StateCorrupt
from tacit.server.ledger.log import CONSENT
from tacit.server.ledger.tables import (
    consent_events,
    consent_states,
    devices,
    erased_devices,
    leaves,
    map_entries,
    subjects,
    tokens,
)

OpenEvent = Callable[[bytes, str, int, bytes], tuple[bytes, bytes, bytes]]
"""Wrapped key of a subject, device, sequence, sealed event → commitment key, signature, event."""


@dataclass(slots=True)
class _Chain:
    """What the events of one device left behind."""

    sequence: int = 0
    last_digest: str = NO_PREDECESSOR
    blinding: bytes = b""
    states: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    entries: dict[str, tuple[bytes, bytes, int]] = field(
        default_factory=dict[str, tuple[bytes, bytes, int]]
    )


def check_consents_follow_log(connection: Connection, open_event: OpenEvent) -> None:
    """Check the tables of devices, subjects, events, states and map entries.

    Args:
        connection: a transaction.
        open_event: opens a sealed event with the node's key.

    Raises:
        StateCorrupt: naming the table and the first entry that differs.
    """
    _check_devices(connection)
    wrapped, chains = dict[str, bytes](), dict[str, _Chain]()
    held = {row.device_id: row for row in connection.execute(select(subjects))}
    for device_id, row in held.items():
        if row.key:  # else erased by a node from before rows went as well: nothing of it is left
            wrapped[device_id], chains[device_id] = row.key, _Chain()
    in_log = select(leaves.c.position, leaves.c.data).where(leaves.c.log == CONSENT)
    at = {row.position: bytes(row.data) for row in connection.execute(in_log)}
    n_leaves = len(at)
    order = (consent_events.c.device_id, consent_events.c.sequence)
    n_events = 0
    for row in connection.execute(select(consent_events).order_by(*order)):
        name = f"{row.device_id} {row.sequence}"
        if row.device_id not in wrapped:
            raise _differs(consent_events.name, name, "its device has no subject")
        try:
            opened = open_event(wrapped[row.device_id], row.device_id, row.sequence, row.sealed)
            _follow(chains[row.device_id], opened, row.sequence, row.position, at)
        except (InvalidTag, PrivacyError, ServerError, KeyError, ValueError):
            raise _differs(
                consent_events.name, name, "it is not the leaf of the consent log that it names"
            ) from None
        n_events += 1
    erased = connection.execute(select(func.count()).select_from(erased_devices)).scalar_one()
    if not erased and len(chains) == len(held) and n_events != n_leaves:
        raise _differs(consent_events.name, f"{n_leaves} leaves", f"only {n_events} have an event")
    for device_id, chain in chains.items():
        row = held[device_id]
        if (row.sequence, row.last_digest) != (chain.sequence, chain.last_digest):
            raise _differs(subjects.name, device_id, "its chain is not that of its events")
    _check_states(connection, chains)


def _follow(
    chain: _Chain,
    opened: tuple[bytes, bytes, bytes],
    sequence: int,
    position: int,
    at: dict[int, bytes],
) -> None:
    commitment_key, signature, event_bytes = opened
    data = leaf(event_bytes, signature, commitment_key)
    event = ConsentEvent.parse(event_bytes)
    check_continues(event, chain.sequence, chain.last_digest)
    # Each leaf belongs to one event.
    if at.pop(position) != data or event.seq != sequence:
        raise KeyError(position)
    chain.blinding = chain.blinding or blinding_key(commitment_key)
    chain.sequence, chain.last_digest = sequence, event_digest(event_bytes)
    granted = " ".join(sorted(event.granted(event.event_time_ms)))
    chain.states[event.purpose] = granted, event.valid_until_ms
    chain.entries[event.purpose] = (
        map_key(chain.blinding, event.purpose),
        map_value(chain.blinding, position, data),
        position,
    )


def _check_states(connection: Connection, chains: dict[str, _Chain]) -> None:
    states = {(d, purpose): one for d, c in chains.items() for purpose, one in c.states.items()}
    for row in connection.execute(select(consent_states)):
        key = row.device_id, row.purpose
        if states.pop(key, None) != (row.signals, row.valid_until_ms):
            raise _differs(consent_states.name, " ".join(key), "it is not what its events say")
    for key in states:
        raise _differs(consent_states.name, " ".join(key), "its events say it, but it has no row")
    entries = {(d, purpose): one for d, c in chains.items() for purpose, one in c.entries.items()}
    for row in connection.execute(select(map_entries)):
        key = row.device_id, row.purpose
        if entries.pop(key, None) != (row.key, row.value, row.position):
            raise _differs(map_entries.name, " ".join(key), "it is not what its events say")
    for key in entries:
        raise _differs(map_entries.name, " ".join(key), "its events say it, but it has no row")


def _check_devices(connection: Connection) -> None:
    """Check that each device is the one its key names, of its token's population."""
    enrolled_by = {
        row.used_by: row.population
        for row in connection.execute(
            select(tokens.c.used_by, tokens.c.population).where(tokens.c.used_by.is_not(None))
        )
        if row.used_by
    }
    for row in connection.execute(select(devices)):
        if key_id(row.public_key) != row.device_id:
            raise _differs(devices.name, row.device_id, "its key is another's")
        if enrolled_by.pop(row.device_id, None) != row.population:
            raise _differs(devices.name, row.device_id, "no token enrolled it in its population")
    for device_id in enrolled_by:
        raise _differs(devices.name, device_id, "a token enrolled it, but it has no row")


def _differs(table: str, entry: str, what: str) -> StateCorrupt:
    return StateCorrupt(f"table {table}, entry {entry}: {what}; restore the database")
