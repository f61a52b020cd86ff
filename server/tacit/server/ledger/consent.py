"""Consent events: sealed and erasable in one table, an opaque leaf of them in the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, and_, delete, insert, select, update

from tacit.privacy.consent import NO_PREDECESSOR, ConsentEvent, check_continues, event_digest
from tacit.privacy.errors import BadSignature
from tacit.privacy.receipt import COMMITMENT_KEY_BYTES, leaf
from tacit.privacy.signals import check_purpose
from tacit.privacy.signatures import SIGNATURE_BYTES, SigningKey, verify
from tacit.server.errors import FailedPrecondition, InvalidRequest, Unauthenticated
from tacit.server.ledger.log import Logs, Proof
from tacit.server.ledger.tables import (
    consent_events,
    consent_states,
    devices,
    notices,
    subjects,
)

MAX_CLOCK_SKEW_MS = 300_000
"""Furthest an event's time may lie ahead of the ledger's clock."""

_MAX_NAMED_DEVICES = 500
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class AdmissionState:
    """What one device allows for one purpose now.

    Attributes:
        device_id, public_key, population: the device.
        signals: what is granted; empty when nothing is.
        sequence: number of consent events held of this device.
    """

    device_id: str
    public_key: bytes
    population: str
    signals: tuple[str, ...]
    sequence: int


class ConsentStore:
    """Append events to devices' chains and answer what is granted now.

    An append writes the sealed event, the leaf with its checkpoint and the admission state in one
    transaction: when it returns, all of them are durable and admission follows the new state.
    """

    def __init__(
        self, logs: Logs, node_key: SigningKey, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._logs = logs
        self._random_bytes = random_bytes
        derive = HKDF(SHA256(), 32, salt=None, info=b"tacit/v1/ledger/subject-keys")
        self._wrapping = AESGCM(derive.derive(node_key.private_bytes()))

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
            FailedPrecondition: if it names a notice with other than its published text.
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
        self._logs.consent.checkpoint(known_size)
        with self._logs.writing() as connection:
            held = self._held(connection, device_id, event.seq, event_bytes, signature)
            if held is None:
                held = self._record(connection, device_id, event, event_bytes, signature)
        commitment_key, position = held
        return commitment_key, self._logs.consent.proof(position, known_size)

    def states(self, purpose: str, device_ids: Sequence[str], now_ms: int) -> list[AdmissionState]:
        """Return what named devices (all, when none is named) allow for a purpose now.

        Unknown devices are left out; devices without consent are there with no signals.
        """
        check_purpose(purpose)
        joined = devices.outerjoin(subjects, subjects.c.device_id == devices.c.device_id).outerjoin(
            consent_states,
            and_(
                consent_states.c.device_id == devices.c.device_id,
                consent_states.c.purpose == purpose,
            ),
        )
        query = select(
            devices.c.device_id,
            devices.c.public_key,
            devices.c.population,
            subjects.c.sequence,
            consent_states.c.signals,
            consent_states.c.valid_until_ms,
        ).select_from(joined)
        wanted = frozenset(device_ids)
        if 0 < len(wanted) <= _MAX_NAMED_DEVICES:
            query = query.where(devices.c.device_id.in_(wanted))
        with self._logs.database.reading() as connection:
            rows = connection.execute(query).all()
        found: list[AdmissionState] = []
        for device_id, public_key, population, sequence, signals, valid_until_ms in rows:
            if wanted and device_id not in wanted:
                continue
            stands = valid_until_ms is not None and now_ms < valid_until_ms
            granted = tuple(signals.split()) if stands else ()
            found.append(AdmissionState(device_id, public_key, population, granted, sequence or 0))
        return found

    def erase(self, device_id: str) -> None:
        """Destroy what the node holds of a device's consents: events, keys, state.

        Leaves, roots and everybody's proofs stay as they are; without the commitment keys the
        leaves of this device say nothing. The device may consent again on a new chain only after
        enrolling with a new key.
        """
        with self._logs.writing() as connection:
            for table in (consent_events, consent_states):
                connection.execute(delete(table).where(table.c.device_id == device_id))
            # The row stays, keyless, so that old events cannot be replayed as a new chain.
            connection.execute(
                update(subjects)
                .where(subjects.c.device_id == device_id)
                .values(key=b"", last_digest="")
            )
        self._logs.database.truncate_wal()

    def _record(
        self,
        connection: Connection,
        device_id: str,
        event: ConsentEvent,
        event_bytes: bytes,
        signature: bytes,
    ) -> tuple[bytes, int]:
        self._check_notice(connection, event)
        row = connection.execute(
            select(subjects.c.key, subjects.c.sequence, subjects.c.last_digest).where(
                subjects.c.device_id == device_id
            )
        ).one_or_none()
        subject_key = self._unwrap(row.key, device_id) if row else self._random_bytes(32)
        check_continues(
            event, row.sequence if row else 0, row.last_digest if row else NO_PREDECESSOR
        )
        commitment_key = self._random_bytes(COMMITMENT_KEY_BYTES)
        position = self._logs.consent.append(
            connection, leaf(event_bytes, signature, commitment_key)
        )
        if row is None:
            nonce = self._random_bytes(_NONCE_BYTES)
            wrapped = nonce + self._wrapping.encrypt(nonce, subject_key, device_id.encode())
            connection.execute(
                insert(subjects),
                {
                    "device_id": device_id,
                    "key": wrapped,
                    "sequence": event.seq,
                    "last_digest": event_digest(event_bytes),
                },
            )
        else:
            connection.execute(
                update(subjects)
                .where(subjects.c.device_id == device_id)
                .values(sequence=event.seq, last_digest=event_digest(event_bytes))
            )
        nonce = self._random_bytes(_NONCE_BYTES)
        plain = commitment_key + signature + event_bytes
        sealed = nonce + AESGCM(subject_key).encrypt(nonce, plain, _label(device_id, event.seq))
        connection.execute(
            insert(consent_events),
            {
                "device_id": device_id,
                "sequence": event.seq,
                "position": position,
                "sealed": sealed,
            },
        )
        mine = and_(
            consent_states.c.device_id == device_id, consent_states.c.purpose == event.purpose
        )
        connection.execute(delete(consent_states).where(mine))
        connection.execute(
            insert(consent_states),
            {
                "device_id": device_id,
                "purpose": event.purpose,
                # Expiry is applied when states are read; everything else is settled here.
                "signals": " ".join(sorted(event.granted(event.event_time_ms))),
                "valid_until_ms": event.valid_until_ms,
            },
        )
        return commitment_key, position

    def _held(
        self,
        connection: Connection,
        device_id: str,
        sequence: int,
        event_bytes: bytes,
        signature: bytes,
    ) -> tuple[bytes, int] | None:
        """Return (commitment key, position) of this very event if it is recorded already."""
        row = connection.execute(
            select(consent_events.c.position, consent_events.c.sealed, subjects.c.key)
            .join(subjects, subjects.c.device_id == consent_events.c.device_id)
            .where(consent_events.c.device_id == device_id, consent_events.c.sequence == sequence)
        ).one_or_none()
        if row is None:
            return None
        position, sealed, wrapped = row
        plain = AESGCM(self._unwrap(wrapped, device_id)).decrypt(
            sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _label(device_id, sequence)
        )
        key, rest = plain[:COMMITMENT_KEY_BYTES], plain[COMMITMENT_KEY_BYTES:]
        if rest[:SIGNATURE_BYTES] != signature or rest[SIGNATURE_BYTES:] != event_bytes:
            return None
        return key, position

    def _unwrap(self, wrapped: bytes, device_id: str) -> bytes:
        if not wrapped:
            raise FailedPrecondition(f"{device_id}: the consent record was erased; enrol anew")
        return self._wrapping.decrypt(
            wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], device_id.encode()
        )

    def _check_notice(self, connection: Connection, event: ConsentEvent) -> None:
        """Hold the notice an event names against the published ones, once there are any."""
        published = dict(
            connection.execute(
                select(notices.c.language, notices.c.sha256).where(
                    notices.c.notice_id == event.notice.notice_id,
                    notices.c.version == event.notice.version,
                )
            ).all()
        )
        if not published:
            if event.state == "given" and connection.execute(select(notices).limit(1)).first():
                raise FailedPrecondition("consent.notice: no notice of this id and version stands")
            return
        if published.get(event.notice.language) != event.notice.sha256:
            raise FailedPrecondition("consent.notice: expected the published text and language")


def _label(device_id: str, sequence: int) -> bytes:
    return f"tacit/v1/consent-event/{device_id}/{sequence}".encode()
