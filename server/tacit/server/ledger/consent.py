"""Consent events: sealed and erasable in one table, an opaque leaf of them in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, bindparam, insert, select, update

from tacit.privacy.consent import NO_PREDECESSOR, ConsentEvent, check_continues, event_digest
from tacit.privacy.consent_map import blinding_key, map_key, map_value
from tacit.privacy.errors import BadSignature
from tacit.privacy.receipt import COMMITMENT_KEY_BYTES, leaf
from tacit.privacy.signatures import SIGNATURE_BYTES, SigningKey, verify
from tacit.server.errors import FailedPrecondition, InvalidRequest, Unauthenticated
from tacit.server.ledger.consent_check import check_consents_follow_log
from tacit.server.ledger.database import retried
from tacit.server.ledger.log import Logs, Proof
from tacit.server.ledger.tables import (
    consent_events,
    consent_states,
    map_entries,
    notices,
    subjects,
)

MAX_CLOCK_SKEW_MS = 300_000
"""Furthest an event's time may lie ahead of the ledger's clock."""

_NONCE_BYTES = 12

# Built once: building a statement costs as much as running it.
_SUBJECT = select(subjects.c.key, subjects.c.sequence, subjects.c.last_digest).where(
    subjects.c.device_id == bindparam("device")
)
_ADD_SUBJECT = insert(subjects)
_MOVE_SUBJECT = (
    update(subjects)
    .where(subjects.c.device_id == bindparam("device"))
    .values(sequence=bindparam("sequence"), last_digest=bindparam("last_digest"))
)
_EVENT = select(consent_events.c.position, consent_events.c.sealed).where(
    consent_events.c.device_id == bindparam("device"),
    consent_events.c.sequence == bindparam("number"),
)
_ADD_EVENT = insert(consent_events)
_ADD_STATE = insert(consent_states)
_MOVE_STATE = (
    update(consent_states)
    .where(
        consent_states.c.device_id == bindparam("device"),
        consent_states.c.purpose == bindparam("of"),
    )
    .values(signals=bindparam("signals"), valid_until_ms=bindparam("valid_until_ms"))
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
_NOTICES = select(notices.c.notice_id, notices.c.version, notices.c.language, notices.c.sha256)


class _Subject(NamedTuple):
    """What is stored of a device's chain."""

    key: bytes
    sequence: int
    last_digest: str


class ConsentStore:
    """Append events to devices' chains; `tacit.server.ledger.admission` reads what is granted.

    An append writes the sealed event, the leaf with its checkpoint, the admission state and the
    device's entry in the current-state map in one transaction: when it returns, all of them are
    durable and admission follows the new state.
    """

    def __init__(
        self, logs: Logs, node_key: SigningKey, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._logs = logs
        self._random_bytes = random_bytes
        derive = HKDF(SHA256(), 32, salt=None, info=b"tacit/v1/ledger/subject-keys")
        self._wrapping = AESGCM(derive.derive(node_key.private_bytes()))

    @retried
    def append(
        self,
        device_id: str,
        public_key: bytes,
        event_bytes: bytes,
        signature: bytes,
        known_size: int,
        now_ms: int,
    ) -> tuple[bytes, Proof]:
        """Record one event, or answer the same event sent again.

        Returns:
            The 32-byte commitment key of the leaf, and its proof.

        Raises:
            BadDocument: if the event is malformed or not a decision the product accepts.
            Unauthenticated: if the device did not sign it.
            RollbackDetected: if it does not continue the device's chain (a replayed grant).
            FailedPrecondition: if it grants under a notice that is not the published text.
            InvalidRequest: if its time lies in the future.
        """
        event = ConsentEvent.parse(event_bytes)
        try:
            verify(public_key, ConsentEvent.SIGNING_CONTEXT, event_bytes, signature)
        except BadSignature:
            raise Unauthenticated(f"{device_id}: the event's signature does not verify") from None
        if event.event_time_ms > now_ms + MAX_CLOCK_SKEW_MS:
            raise InvalidRequest("consent.event_time_ms: expected a time that is not in the future")
        # Checked before anything is written: a wrong size must not leave an event behind.
        self._logs.consent.check_known(known_size)
        with self._logs.writing() as connection:
            row = connection.execute(_SUBJECT, {"device": device_id}).one_or_none()
            subject = _Subject(*row) if row else None
            held = None
            if subject is not None and event.seq <= subject.sequence:
                held = self._held(
                    connection, device_id, subject.key, event.seq, signature + event_bytes
                )
            if held is None:
                held = self._record(connection, device_id, subject, event, event_bytes, signature)
        commitment_key, position = held
        return commitment_key, self._logs.consent.proof(position, known_size)

    @retried
    def fill_map(self) -> None:
        """Write the map entries of events from before there was a map; nothing if there are any."""
        with self._logs.writing() as connection:
            if connection.execute(select(map_entries.c.device_id).limit(1)).first() is not None:
                return
            rows = connection.execute(
                select(subjects.c.device_id, subjects.c.key).where(subjects.c.key != b"")
            ).all()
            for device_id, wrapped in rows:
                self._fill_map_of(connection, device_id, self._unwrap(wrapped, device_id))

    def check_rows(self) -> None:
        """Hold devices and consents against the consent log.

        Raises:
            StateCorrupt: naming the table and the entry that differ.
        """

        def open_event(wrapped: bytes, device_id: str, sequence: int, sealed: bytes) -> bytes:
            key = AESGCM(self._unwrap(wrapped, device_id))
            return _open(key, sealed, _label(device_id, sequence))

        with self._logs.database.reading() as connection:
            check_consents_follow_log(connection, open_event)

    def _fill_map_of(self, connection: Connection, device_id: str, key: bytes) -> None:
        query = select(consent_events).where(consent_events.c.device_id == device_id)
        blinding = b""
        for row in connection.execute(query.order_by(consent_events.c.sequence)).all():
            plain = _open(AESGCM(key), row.sealed, _label(device_id, row.sequence))
            commitment_key, rest = plain[:COMMITMENT_KEY_BYTES], plain[COMMITMENT_KEY_BYTES:]
            signature, event_bytes = rest[:SIGNATURE_BYTES], rest[SIGNATURE_BYTES:]
            blinding = blinding or blinding_key(commitment_key)
            data = leaf(event_bytes, signature, commitment_key)
            purpose = ConsentEvent.parse(event_bytes).purpose
            _map(connection, device_id, purpose, blinding, row.position, data)

    def _record(
        self,
        connection: Connection,
        device_id: str,
        subject: _Subject | None,
        event: ConsentEvent,
        event_bytes: bytes,
        signature: bytes,
    ) -> tuple[bytes, int]:
        _check_notice(connection, event)
        key = self._unwrap(subject.key, device_id) if subject else self._random_bytes(32)
        if subject is None:
            check_continues(event, 0, NO_PREDECESSOR)
        else:
            check_continues(event, subject.sequence, subject.last_digest)
        commitment_key = self._random_bytes(COMMITMENT_KEY_BYTES)
        blinding = blinding_key(
            commitment_key if subject is None else self._first_key(connection, device_id, key)
        )
        data = leaf(event_bytes, signature, commitment_key)
        position = self._logs.consent.append(connection, data)
        chain = {"sequence": event.seq, "last_digest": event_digest(event_bytes)}
        if subject is None:
            wrapped = _seal(self._wrapping, self._random_bytes, key, device_id.encode())
            connection.execute(_ADD_SUBJECT, {"device_id": device_id, "key": wrapped} | chain)
        else:
            connection.execute(_MOVE_SUBJECT, {"device": device_id} | chain)
        plain, label = commitment_key + signature + event_bytes, _label(device_id, event.seq)
        sealed = _seal(AESGCM(key), self._random_bytes, plain, label)
        connection.execute(
            _ADD_EVENT,
            {
                "device_id": device_id,
                "sequence": event.seq,
                "position": position,
                "sealed": sealed,
            },
        )
        state = {
            # Expiry is applied when states are read; everything else is settled here.
            "signals": " ".join(sorted(event.granted(event.event_time_ms))),
            "valid_until_ms": event.valid_until_ms,
        }
        mine = {"device": device_id, "of": event.purpose}
        if subject is None or not connection.execute(_MOVE_STATE, mine | state).rowcount:
            named = {"device_id": device_id, "purpose": event.purpose}
            connection.execute(_ADD_STATE, named | state)
        _map(connection, device_id, event.purpose, blinding, position, data)
        return commitment_key, position

    def _first_key(self, connection: Connection, device_id: str, key: bytes) -> bytes:
        """Return the commitment key of the first leaf of a device's chain."""
        row = connection.execute(_EVENT, {"device": device_id, "number": 1}).one()
        return _open(AESGCM(key), row.sealed, _label(device_id, 1))[:COMMITMENT_KEY_BYTES]

    def _held(
        self, connection: Connection, device_id: str, wrapped: bytes, sequence: int, signed: bytes
    ) -> tuple[bytes, int] | None:
        """Return (commitment key, position) if this very signed event is recorded already."""
        row = connection.execute(_EVENT, {"device": device_id, "number": sequence}).one_or_none()
        if row is None:
            return None
        key = AESGCM(self._unwrap(wrapped, device_id))
        plain = _open(key, row.sealed, _label(device_id, sequence))
        if plain[COMMITMENT_KEY_BYTES:] != signed:
            return None
        return plain[:COMMITMENT_KEY_BYTES], row.position

    def _unwrap(self, wrapped: bytes, device_id: str) -> bytes:
        if not wrapped:
            raise FailedPrecondition(f"{device_id}: the consent record was erased; enrol anew")
        return _open(self._wrapping, wrapped, device_id.encode())


def _map(
    connection: Connection,
    device_id: str,
    purpose: str,
    blinding: bytes,
    position: int,
    data: bytes,
) -> None:
    """Have the current-state map name this leaf as the device's latest decision of a purpose."""
    entry = {
        "key": map_key(blinding, purpose),
        "value": map_value(blinding, position, data),
        "position": position,
    }
    mine = {"device": device_id, "of": purpose}
    if not connection.execute(_MOVE_ENTRY, mine | entry).rowcount:
        named = {"device_id": device_id, "purpose": purpose}
        connection.execute(_ADD_ENTRY, named | entry)


def _check_notice(connection: Connection, event: ConsentEvent) -> None:
    """Hold the notice that a grant names against the published ones, once there are any.

    Whatever takes consent away needs no notice: a withdrawal must never fail for want of one.
    """
    if event.state != "given":
        return
    rows = connection.execute(_NOTICES).all()
    shown = event.notice
    versions = {
        row.language: row.sha256
        for row in rows
        if (row.notice_id, row.version) == (shown.notice_id, shown.version)
    }
    if rows and not versions:
        raise FailedPrecondition("consent.notice: no notice of this id and version stands")
    if rows and versions.get(shown.language) != shown.sha256:
        raise FailedPrecondition("consent.notice: expected the published text and language")


def _seal(key: AESGCM, random_bytes: Callable[[int], bytes], plain: bytes, label: bytes) -> bytes:
    nonce = random_bytes(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, label)


def _open(key: AESGCM, sealed: bytes, label: bytes) -> bytes:
    return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], label)


def _label(device_id: str, sequence: int) -> bytes:
    return f"tacit/v1/consent-event/{device_id}/{sequence}".encode()
