"""Consent events: what a person decided about which signals for which purpose, as a chain.

Each device keeps one chain of events over all purposes. An event is canonical JSON signed by the
device (context `"consent"`), numbered `seq` = 1, 2, 3, … and naming its predecessor by digest, so
that a grant recorded before a withdrawal cannot be replayed after it. The log holds only an opaque
leaf per event (`tacit.privacy.receipt`). The fields are a superset of the mandatory ones of
ISO/IEC TS 27560.

The fold `current_state` is the one rule for "what is granted now"; the device and the ledger both
use it. It is default-deny: only the latest event of a purpose counts, and only if it grants.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument, RollbackDetected
from tacit.privacy.signals import Sensitivity, check_purpose, signal

SCHEMA = "tacit.consent/1"
STATES = ("requested", "given", "refused", "withdrawn", "expired", "invalidated")
EXPLICIT_METHODS = ("prompt", "settings")
METHODS = (*EXPLICIT_METHODS, "implied", "browser_signal")
LAWFUL_BASES = ("consent", "contract", "legitimate_interest")
NO_PREDECESSOR = "0" * 64
"""`prev_commitment` of the first event of a chain."""

MAX_EVENT_BYTES = 16_384
_HEX_32 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[0-9A-Za-z._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class NoticeShown:
    """The notice a person saw.

    Attributes:
        notice_id, version, language: which notice; language as a BCP 47 tag.
        sha256: hex digest of its text.
        served_at_ms: Unix milliseconds.
    """

    notice_id: str
    version: str
    sha256: str
    language: str
    served_at_ms: int

    def to_json(self) -> dict[str, Json]:
        """Return the object that stands in the event."""
        return {
            "id": self.notice_id,
            "version": self.version,
            "sha256": self.sha256,
            "language": self.language,
            "served_at_ms": self.served_at_ms,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> NoticeShown:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "consent.notice")
        notice = cls(
            notice_id=fields.text("id"),
            version=fields.text("version"),
            sha256=fields.text("sha256", max_length=64),
            language=fields.text("language", max_length=35),
            served_at_ms=fields.integer("served_at_ms", 0),
        )
        fields.done()
        if not _HEX_32.fullmatch(notice.sha256):
            raise BadDocument("consent.notice.sha256: expected 64 lower-case hex digits")
        return notice


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """One decision about one purpose.

    Attributes:
        record_id: unique and unguessable, 32 hex digits of randomness.
        subject_pseudonym: name of the person for this purpose only.
        controller: who asks.
        purpose: `decide`, `learn` or `measure`.
        signals: signal names this decision is about, sorted and unique.
        lawful_basis: one of `LAWFUL_BASES`; a grant of `learn` or `measure` needs `consent`.
        notice: the notice that was shown.
        method: one of `METHODS`; how the person said it.
        state: one of `STATES`.
        event_time_ms: when, Unix milliseconds.
        valid_until_ms: the grant ends at this time.
        retention_days: how long this record is kept.
        storage_location, recipients, jurisdiction, withdrawal_uri: as the notice says.
        gpc_present: a Global Privacy Control signal was present.
        gpc_conflict: it contradicts this grant; then the grant counts as refused.
        prev_commitment: `event_digest` of the previous event of this chain, or `NO_PREDECESSOR`.
        seq: 1, 2, 3, …
    """

    record_id: str
    subject_pseudonym: str
    controller: str
    purpose: str
    signals: tuple[str, ...]
    lawful_basis: str
    notice: NoticeShown
    method: str
    state: str
    event_time_ms: int
    valid_until_ms: int
    retention_days: int
    storage_location: str
    recipients: tuple[str, ...]
    jurisdiction: str
    withdrawal_uri: str
    gpc_present: bool
    gpc_conflict: bool
    prev_commitment: str
    seq: int

    SIGNING_CONTEXT: ClassVar[str] = "consent"

    def to_json(self) -> dict[str, Json]:
        """Return the event as a document."""
        return {
            "schema": SCHEMA,
            "record_id": self.record_id,
            "subject_pseudonym": self.subject_pseudonym,
            "controller": self.controller,
            "purpose": self.purpose,
            "signals": list(self.signals),
            "lawful_basis": self.lawful_basis,
            "notice": cast(Json, self.notice.to_json()),
            "method": self.method,
            "state": self.state,
            "event_time_ms": self.event_time_ms,
            "valid_until_ms": self.valid_until_ms,
            "retention_days": self.retention_days,
            "storage_location": self.storage_location,
            "recipients": list(self.recipients),
            "jurisdiction": self.jurisdiction,
            "withdrawal_uri": self.withdrawal_uri,
            "gpc": {"present": self.gpc_present, "conflict": self.gpc_conflict},
            "prev_commitment": self.prev_commitment,
            "seq": self.seq,
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that the device signs."""
        return canonical_json(self.to_json())

    @classmethod
    def parse(cls, data: bytes) -> ConsentEvent:
        """Parse and validate the bytes of one event; raises `BadDocument`."""
        return cls.from_json(cls.document_of(data))

    @staticmethod
    def document_of(data: bytes) -> dict[str, Json]:
        """Return the document that the bytes of one event encode; raises `BadDocument`."""
        if len(data) > MAX_EVENT_BYTES:
            raise BadDocument(f"expected a consent event of at most {MAX_EVENT_BYTES} bytes")
        return parse_canonical(data)

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ConsentEvent:
        """Parse and validate; raises `BadDocument`."""
        left = dict(document)
        notice, gpc = left.pop("notice", None), left.pop("gpc", None)
        if not isinstance(notice, dict) or not isinstance(gpc, dict):
            raise BadDocument("consent: expected objects in the fields notice and gpc")
        gpc_fields = Fields(gpc, "consent.gpc")
        fields = Fields(left, "consent")
        if fields.text("schema") != SCHEMA:
            raise BadDocument(f"consent.schema: expected {SCHEMA!r}")
        event = cls(
            record_id=fields.text("record_id", max_length=32),
            subject_pseudonym=fields.text("subject_pseudonym"),
            controller=fields.text("controller"),
            purpose=fields.text("purpose"),
            signals=fields.texts("signals"),
            lawful_basis=fields.text("lawful_basis"),
            notice=NoticeShown.from_json(notice),
            method=fields.text("method"),
            state=fields.text("state"),
            event_time_ms=fields.integer("event_time_ms", 0),
            valid_until_ms=fields.integer("valid_until_ms", 0),
            retention_days=fields.integer("retention_days", 1, 36_500),
            storage_location=fields.text("storage_location"),
            recipients=fields.texts("recipients"),
            jurisdiction=fields.text("jurisdiction"),
            withdrawal_uri=fields.text("withdrawal_uri"),
            gpc_present=gpc_fields.boolean("present"),
            gpc_conflict=gpc_fields.boolean("conflict"),
            prev_commitment=fields.text("prev_commitment", max_length=64),
            seq=fields.integer("seq", 1),
        )
        fields.done()
        gpc_fields.done()
        event.check()
        return event

    def check(self) -> None:
        """Check the rules that decide whether this is a decision the product accepts.

        Raises:
            BadDocument: naming the field and what was expected.
        """
        if not re.fullmatch(r"[0-9a-f]{32}", self.record_id):
            raise BadDocument("consent.record_id: expected 32 lower-case hex digits")
        if not _NAME.fullmatch(self.subject_pseudonym):
            raise BadDocument("consent.subject_pseudonym: expected 1 to 64 letters and digits")
        if not _HEX_32.fullmatch(self.prev_commitment):
            raise BadDocument("consent.prev_commitment: expected 64 lower-case hex digits")
        check_purpose(self.purpose)
        for field, value, allowed in (
            ("lawful_basis", self.lawful_basis, LAWFUL_BASES),
            ("method", self.method, METHODS),
            ("state", self.state, STATES),
        ):
            if value not in allowed:
                raise BadDocument(f"consent.{field}: expected one of {', '.join(allowed)}")
        if list(self.signals) != sorted(set(self.signals)):
            raise BadDocument("consent.signals: expected sorted names without repetition")
        if (self.seq == 1) != (self.prev_commitment == NO_PREDECESSOR):
            raise BadDocument("consent.prev_commitment: expected a predecessor from seq 2 on")
        if self.gpc_conflict != (self.gpc_present and self.state == "given"):
            raise BadDocument("consent.gpc.conflict: expected true exactly for a grant under GPC")
        classes = {signal(name).sensitivity for name in self.signals}
        if self.state == "given":
            self._check_grant(classes)

    def _check_grant(self, classes: set[Sensitivity]) -> None:
        if not self.signals:
            raise BadDocument("consent.signals: expected at least one signal in a grant")
        if self.valid_until_ms <= self.event_time_ms:
            raise BadDocument("consent.valid_until_ms: expected a time after event_time_ms")
        if Sensitivity.PROHIBITED in classes:
            raise BadDocument(f"consent.signals: a prohibited signal cannot serve {self.purpose}")
        if self.method not in EXPLICIT_METHODS:
            if self.purpose != "decide":
                raise BadDocument(f"consent.method: {self.purpose} needs an explicit grant")
            if classes != {Sensitivity.BASIC}:
                raise BadDocument("consent.method: implied consent covers basic signals only")
        if self.purpose != "decide" and self.lawful_basis != "consent":
            raise BadDocument(f"consent.lawful_basis: {self.purpose} needs 'consent'")

    def granted(self, now_ms: int) -> frozenset[str]:
        """Return the signals this event grants at `now_ms`; empty unless it stands as a grant."""
        stands = self.state == "given" and not self.gpc_conflict and now_ms < self.valid_until_ms
        return frozenset(self.signals) if stands else frozenset()


def event_digest(event_bytes: bytes) -> str:
    """Return the hex digest by which the next event of the chain names this one.

    It stays inside encrypted stores; `record_id` keeps it from confirming a guessed event.
    """
    return hashlib.sha256(b"tacit/v1/consent-event\0" + event_bytes).hexdigest()


def check_continues(event: ConsentEvent, previous_seq: int, previous_digest: str) -> None:
    """Check that an event continues a chain whose last event had this number and digest.

    Args:
        event: the new event.
        previous_seq: 0 for an empty chain.
        previous_digest: `event_digest` of the last event; `NO_PREDECESSOR` for an empty chain.

    Raises:
        RollbackDetected: if it is an old event, skips one, or names another predecessor.
    """
    if event.seq != previous_seq + 1:
        raise RollbackDetected(f"expected consent event {previous_seq + 1}, got {event.seq}")
    if event.prev_commitment != previous_digest:
        raise RollbackDetected(f"consent event {event.seq} names another predecessor")


def current_state(events: Iterable[ConsentEvent], now_ms: int) -> dict[str, frozenset[str]]:
    """Fold one device's whole chain into purpose → signals granted at `now_ms`.

    Every purpose is a key; its value is empty unless its latest event is a grant that has not
    expired and does not contradict a GPC signal.

    Raises:
        RollbackDetected: if the events are not one unbroken chain from seq 1.
    """
    state: dict[str, frozenset[str]] = {
        name: frozenset[str]() for name in ("decide", "learn", "measure")
    }
    seq, digest = 0, NO_PREDECESSOR
    for event in events:
        check_continues(event, seq, digest)
        seq, digest = event.seq, event_digest(event.to_bytes())
        state[event.purpose] = event.granted(now_ms)
    return state
