"""Consents on the device: the chain of a person's decisions, in force the moment they are made.

The device is the first to obey: what `permitted` does not return is not read. The ledger learns of
each decision at the next sync and answers with a receipt, which is verified before it is kept.
Nothing is granted to start with; only `decide` on basic signals is implied, until the person says
otherwise (tacit.privacy.consent).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tacit.client.errors import BadEvent, StoreDamaged
from tacit.client.facts import Facts
from tacit.client.keys import derive_key
from tacit.client.store import Store
from tacit.client.terms import DAY_MS, ConsentTerms
from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical
from tacit.privacy.consent import (
    NO_PREDECESSOR,
    ConsentEvent,
    NoticeShown,
    current_state,
    event_digest,
)
from tacit.privacy.errors import BadDocument, RollbackDetected
from tacit.privacy.signals import PURPOSES, SIGNALS, Sensitivity

if TYPE_CHECKING:
    from tacit.privacy.receipt import Receipt

BASIC_SIGNALS = frozenset(s.name for s in SIGNALS.values() if s.sensitivity is Sensitivity.BASIC)
"""Signals that `decide` may use before anybody was asked."""

_EVENT, _RECEIPT = "consent", "receipt"


@dataclass(frozen=True, slots=True)
class SignedConsent:
    """One decision as it is sent to the ledger.

    Attributes:
        seq: its number in this device's chain.
        event: canonical bytes of the `ConsentEvent`.
        signature: the device's signature over them, context `"consent"`.
    """

    seq: int
    event: bytes
    signature: bytes


class ConsentLog:
    """The chain of one store."""

    def __init__(self, store: Store, facts: Facts) -> None:
        self._store = store
        self._facts = facts
        self._chain: list[ConsentEvent] | None = None

    def decide(
        self,
        purpose: str,
        signals: Collection[str],
        *,
        granted: bool,
        now_ms: int,
        terms: ConsentTerms,
        gpc: bool = False,
    ) -> ConsentEvent:
        """Record a person's decision: on the disk, and in force, when this returns.

        A grant adds to what is granted, a refusal takes away from it; the event states the whole
        that then stands for the purpose, so the latest event of a purpose is always the answer.

        Args:
            purpose: `decide`, `learn` or `measure`.
            signals: signals the decision is about.
            granted: yes or no.
            now_ms: Unix milliseconds.
            terms: what the person was told.
            gpc: a Global Privacy Control signal is present; it turns a grant into a conflict,
                which counts as a refusal.

        Raises:
            BadEvent: if purpose or signals are unknown, or no consent can cover them.
        """
        if purpose not in PURPOSES:
            raise BadEvent(f"expected a purpose among {', '.join(PURPOSES)}, got another")
        unknown = set(signals) - set(SIGNALS)
        if unknown or not signals:
            raise BadEvent("expected at least one signal, all of them in the signal catalogue")
        before = self.permitted(purpose, now_ms)
        after = before | set(signals) if granted else before - set(signals)
        if after:
            state, stated = "given", after
        else:
            state, stated = ("withdrawn" if before else "refused"), frozenset(signals)
        event = self._next_event(purpose, stated, state, now_ms, terms, gpc)
        self._append(event)
        return event

    def permitted(self, purpose: str, now_ms: int) -> frozenset[str]:
        """Return the signals that may be read for a purpose now."""
        latest = next((e for e in reversed(self._events()) if e.purpose == purpose), None)
        if latest is None:
            return BASIC_SIGNALS if purpose == "decide" else frozenset[str]()
        return latest.granted(now_ms)

    def state(self, now_ms: int) -> Mapping[str, frozenset[str]]:
        """Return purpose → signals that may be read now."""
        return {purpose: self.permitted(purpose, now_ms) for purpose in PURPOSES}

    def pending(self) -> list[SignedConsent]:
        """Return the decisions the ledger has not receipted yet, oldest first."""
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT sequence, epoch, sealed FROM consents WHERE receipt IS NULL "
                "ORDER BY sequence"
            ).fetchall()
        return [self._open(*row) for row in rows]

    def keep_receipt(self, seq: int, receipt: Receipt) -> None:
        """Keep a receipt that was verified; on the disk when this returns."""
        content = canonical_json(
            {
                "commitment_key": receipt.commitment_key.hex(),
                "index": receipt.index,
                "inclusion": [node.hex() for node in receipt.inclusion],
                "checkpoint": receipt.checkpoint.hex(),
                "consistency": [node.hex() for node in receipt.consistency],
            }
        )
        sealed = self._store.sealer.seal(_RECEIPT, seq, content)
        with self._store.power_safe() as connection:
            connection.execute("UPDATE consents SET receipt = ? WHERE sequence = ?", (sealed, seq))

    def receipt(self, seq: int) -> Receipt | None:
        """Return the receipt of one decision, or None while the ledger has not answered."""
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT epoch, receipt FROM consents WHERE sequence = ?", (seq,)
            ).fetchone()
        if row is None or row[1] is None:
            return None
        fields = Fields(
            parse_canonical(self._store.unseal(_RECEIPT, seq, row[0], row[1])), "receipt"
        )
        from tacit.privacy.receipt import Receipt

        return Receipt(
            commitment_key=bytes.fromhex(fields.text("commitment_key")),
            index=fields.integer("index", 0),
            inclusion=tuple(bytes.fromhex(node) for node in fields.texts("inclusion")),
            checkpoint=bytes.fromhex(fields.text("checkpoint", max_length=1 << 16)),
            consistency=tuple(bytes.fromhex(node) for node in fields.texts("consistency")),
        )

    def signed(self) -> list[tuple[SignedConsent, ConsentEvent]]:
        """Return the whole chain, oldest first, as it was signed and as it reads."""
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT sequence, epoch, sealed FROM consents ORDER BY sequence"
            ).fetchall()
        return list(zip([self._open(*row) for row in rows], self._events(), strict=True))

    def count(self) -> int:
        """Count the decisions made on this device."""
        return len(self._events())

    def _next_event(
        self,
        purpose: str,
        signals: Collection[str],
        state: str,
        now_ms: int,
        terms: ConsentTerms,
        gpc: bool,
    ) -> ConsentEvent:
        chain = self._events()
        event = ConsentEvent(
            record_id=os.urandom(16).hex(),
            subject_pseudonym=_pseudonym(self._facts.device_secret(), purpose),
            controller=terms.controller,
            purpose=purpose,
            signals=tuple(sorted(signals)),
            lawful_basis="consent",
            notice=NoticeShown(
                terms.notice_id, terms.notice_version, terms.notice_sha256, terms.language, now_ms
            ),
            method="settings",
            state=state,
            event_time_ms=now_ms,
            valid_until_ms=now_ms + terms.valid_days * DAY_MS,
            retention_days=terms.retention_days,
            storage_location=terms.storage_location,
            recipients=terms.recipients,
            jurisdiction=terms.jurisdiction,
            withdrawal_uri=terms.withdrawal_uri,
            gpc_present=gpc,
            gpc_conflict=gpc and state == "given",
            prev_commitment=event_digest(chain[-1].to_bytes()) if chain else NO_PREDECESSOR,
            seq=len(chain) + 1,
        )
        try:
            event.check()
        except BadDocument as error:
            raise BadEvent(str(error)) from None
        return event

    def _append(self, event: ConsentEvent) -> None:
        data = event.to_bytes()
        signature = self._facts.identity().sign(ConsentEvent.SIGNING_CONTEXT, data)
        document: dict[str, Json] = {"event": data.hex(), "signature": signature.hex()}
        sealed = self._store.sealer.seal(_EVENT, event.seq, canonical_json(document))
        with self._store.power_safe() as connection:
            connection.execute(
                "INSERT INTO consents VALUES (?, ?, ?, NULL)",
                (event.seq, self._store.epoch, sealed),
            )
        self._events().append(event)

    def _events(self) -> list[ConsentEvent]:
        if self._chain is None:
            with self._store.reading() as connection:
                rows = connection.execute(
                    "SELECT sequence, epoch, sealed FROM consents ORDER BY sequence"
                ).fetchall()
            chain = [ConsentEvent.parse(self._open(*row).event) for row in rows]
            try:
                current_state(chain, 0)
            except RollbackDetected as error:
                raise StoreDamaged(f"the consent chain is broken: {error}") from None
            self._chain = chain
        return self._chain

    def _open(self, sequence: int, epoch: int, sealed: bytes) -> SignedConsent:
        fields = Fields(
            parse_canonical(self._store.unseal(_EVENT, sequence, epoch, sealed)), "consent record"
        )
        return SignedConsent(
            sequence,
            bytes.fromhex(fields.text("event", max_length=1 << 20)),
            bytes.fromhex(fields.text("signature")),
        )


def _pseudonym(device_secret: bytes, purpose: str) -> str:
    """Name the person for one purpose; unlinkable across purposes without the device secret."""
    digest = derive_key(device_secret, f"pseudonym/{purpose}".encode("ascii"))
    return base64.b32encode(digest[:16]).decode("ascii").rstrip("=").lower()
