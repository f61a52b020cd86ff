"""Consent events: sealed and erasable in one table, an opaque leaf of them in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, Row, select

from tacit.privacy.canonical import Json
from tacit.privacy.consent import NO_PREDECESSOR, ConsentEvent, check_continues
from tacit.privacy.consent_map import blinding_key
from tacit.privacy.errors import BadSignature, PrivacyError
from tacit.privacy.receipt import COMMITMENT_KEY_BYTES, leaf, leaf_of
from tacit.privacy.signatures import SIGNATURE_BYTES, SigningKey, verify
from tacit.server.errors import (
    FailedPrecondition,
    InvalidRequest,
    ServerError,
    Unauthenticated,
)
from tacit.server.ledger.combining import Combining
from tacit.server.ledger.consent_check import check_consents_follow_log
from tacit.server.ledger.consent_rows import (
    Chain,
    Link,
    load_chains,
    load_event,
    write_entry,
    write_links,
)
from tacit.server.ledger.database import retried
from tacit.server.ledger.erased_names import erased_among
from tacit.server.ledger.event_packing import pack, unpack
from tacit.server.ledger.log import Logs, Proof
from tacit.server.ledger.tables import consent_events, map_entries, notices, subjects

MAX_CLOCK_SKEW_MS = 300_000
"""Furthest an event's time may lie ahead of the ledger's clock."""

_NONCE_BYTES = 12

_NOTICES = select(notices.c.notice_id, notices.c.version, notices.c.language, notices.c.sha256)


class _Arrived(NamedTuple):
    """An event whose signature was checked."""

    device_id: str
    event: ConsentEvent
    document: Mapping[str, Json]
    event_bytes: bytes
    signature: bytes


_Held = tuple[bytes, int]
"""Commitment key and position of a leaf."""


class ConsentStore:
    """Append events to devices' chains; `tacit.server.ledger.admission` reads what is granted.

    An append writes the sealed event, the leaf with its checkpoint, the admission state and the
    device's entry in the current-state map in one transaction: when it returns, all of them are
    durable and admission follows the new state. Appends of different devices that come at once are
    written by one of the callers, in one transaction and with one statement for each table.
    """

    def __init__(
        self, logs: Logs, node_key: SigningKey, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._logs = logs
        self._random_bytes = random_bytes
        derive = HKDF(SHA256(), 32, salt=None, info=b"tacit/v1/ledger/subject-keys")
        self._wrapping = AESGCM(derive.derive(node_key.private_bytes()))
        self._combining = Combining[_Arrived, _Held](self._append_all, lambda one: one.device_id)

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
        document = ConsentEvent.document_of(event_bytes)
        event = ConsentEvent.from_json(document)
        try:
            verify(public_key, ConsentEvent.SIGNING_CONTEXT, event_bytes, signature)
        except BadSignature:
            raise Unauthenticated(f"{device_id}: the event's signature does not verify") from None
        if event.event_time_ms > now_ms + MAX_CLOCK_SKEW_MS:
            raise InvalidRequest("consent.event_time_ms: expected a time that is not in the future")
        # Checked before anything is written: a wrong size must not leave an event behind.
        self._logs.consent.check_known(known_size)
        arrived = _Arrived(device_id, event, document, event_bytes, signature)
        commitment_key, position = self._combining.answer(arrived)
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

        def open_event(
            wrapped: bytes, device_id: str, sequence: int, sealed: bytes
        ) -> tuple[bytes, bytes, bytes]:
            key = AESGCM(self._unwrap(wrapped, device_id))
            return _parts(_open(key, sealed, _label(device_id, sequence)))

        with self._logs.database.reading() as connection:
            check_consents_follow_log(connection, open_event)

    def _fill_map_of(self, connection: Connection, device_id: str, key: bytes) -> None:
        query = select(consent_events).where(consent_events.c.device_id == device_id)
        blinding = b""
        for row in connection.execute(query.order_by(consent_events.c.sequence)).all():
            plain = _open(AESGCM(key), row.sealed, _label(device_id, row.sequence))
            commitment_key, signature, event_bytes = _parts(plain)
            blinding = blinding or blinding_key(commitment_key)
            data = leaf(event_bytes, signature, commitment_key)
            purpose = ConsentEvent.parse(event_bytes).purpose
            write_entry(connection, device_id, purpose, blinding, row.position, data)

    @retried
    def _append_all(self, arrived: Sequence[_Arrived]) -> list[_Held | Exception]:
        """Append events of different devices; what is wrong with one of them is its answer."""
        answers: list[_Held | Exception] = []
        with self._logs.writing() as connection:
            chains = load_chains(connection, [one.device_id for one in arrived])
            # Who was let in may have been erased since, and must not begin anew.
            beginning = [one.device_id for one in arrived if one.device_id not in chains]
            gone = erased_among(connection, beginning)
            published = connection.execute(_NOTICES).all()
            links: list[Link] = []
            for one in arrived:
                chain = chains.get(one.device_id)
                try:
                    if one.device_id in gone:
                        raise _erased(one.device_id)
                    held = self._held(connection, one, chain)
                    if held is None:
                        _check_notice(published, one.event)
                        held, link = self._continue(connection, one, chain)
                        links.append(link)
                except (PrivacyError, ServerError) as error:
                    answers.append(error)
                else:
                    answers.append(held)
            if links:
                write_links(connection, links)
        return answers

    def _continue(
        self, connection: Connection, one: _Arrived, chain: Chain | None
    ) -> tuple[_Held, Link]:
        """Append the leaf of an event that continues its chain; nothing refuses it any more."""
        device_id, event = one.device_id, one.event
        key = self._random_bytes(32) if chain is None else self._unwrap(chain.key, device_id)
        if chain is None:
            check_continues(event, 0, NO_PREDECESSOR)
        else:
            check_continues(event, chain.sequence, chain.last_digest)
        sealing, commitment_key = AESGCM(key), self._random_bytes(COMMITMENT_KEY_BYTES)
        first_key, wrapped = commitment_key, None
        if chain is None:
            wrapped = _seal(self._wrapping, self._random_bytes, key, device_id.encode())
        else:
            first_key = _open(sealing, chain.first, _label(device_id, 1))[:COMMITMENT_KEY_BYTES]
        data = leaf_of(one.document, one.signature, commitment_key)
        plain = commitment_key + one.signature + pack(one.event_bytes)
        sealed = _seal(sealing, self._random_bytes, plain, _label(device_id, event.seq))
        position = self._logs.consent.append(connection, data)
        link = Link(
            device_id=device_id,
            event=event,
            event_bytes=one.event_bytes,
            new_key=wrapped,
            sealed=sealed,
            position=position,
            leaf=data,
            blinding=blinding_key(first_key),
        )
        return (commitment_key, position), link

    def _held(self, connection: Connection, one: _Arrived, chain: Chain | None) -> _Held | None:
        """Return (commitment key, position) if this very signed event is recorded already."""
        if chain is None or one.event.seq > chain.sequence:
            return None
        found = load_event(connection, one.device_id, one.event.seq)
        if found is None:
            return None
        position, sealed = found
        key = AESGCM(self._unwrap(chain.key, one.device_id))
        plain = _open(key, sealed, _label(one.device_id, one.event.seq))
        commitment_key, signature, event_bytes = _parts(plain)
        if (signature, event_bytes) != (one.signature, one.event_bytes):
            return None
        return commitment_key, position

    def _unwrap(self, wrapped: bytes, device_id: str) -> bytes:
        if not wrapped:
            raise _erased(device_id)
        return _open(self._wrapping, wrapped, device_id.encode())


def _erased(device_id: str) -> FailedPrecondition:
    return FailedPrecondition(f"{device_id}: the consent record was erased; enrol anew")


def _check_notice(published: Sequence[Row[Any, Any, Any, Any]], event: ConsentEvent) -> None:
    """Hold the notice that a grant names against the published ones, once there are any.

    Whatever takes consent away needs no notice: a withdrawal must never fail for want of one.
    """
    if event.state != "given":
        return
    shown = event.notice
    versions = {
        row.language: row.sha256
        for row in published
        if (row.notice_id, row.version) == (shown.notice_id, shown.version)
    }
    if published and not versions:
        raise FailedPrecondition("consent.notice: no notice of this id and version stands")
    if published and versions.get(shown.language) != shown.sha256:
        raise FailedPrecondition("consent.notice: expected the published text and language")


def _parts(plain: bytes) -> tuple[bytes, bytes, bytes]:
    """Return commitment key, signature and event of what was sealed."""
    rest = plain[COMMITMENT_KEY_BYTES:]
    return plain[:COMMITMENT_KEY_BYTES], rest[:SIGNATURE_BYTES], unpack(rest[SIGNATURE_BYTES:])


def _seal(key: AESGCM, random_bytes: Callable[[int], bytes], plain: bytes, label: bytes) -> bytes:
    nonce = random_bytes(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, label)


def _open(key: AESGCM, sealed: bytes, label: bytes) -> bytes:
    return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], label)


def _label(device_id: str, sequence: int) -> bytes:
    return f"tacit/v1/consent-event/{device_id}/{sequence}".encode()
