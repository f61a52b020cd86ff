"""Data-subject verbs: access, rectify, erase, export, object, withdraw.

The device holds the data, so each verb is done here first, without a network, and is in force when
it returns. What a ledger must learn of goes with the next sync; until then the receipt says that it
is pending. Receipts are kept on the device, also past an erasure.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from tacit.client.consent_record import consent_records
from tacit.client.consents import BASIC_SIGNALS
from tacit.client.damaged_copies import destroy_copies
from tacit.client.erasure import erase_keeping
from tacit.client.errors import BadEvent, ReceiptRefused
from tacit.client.events import Event
from tacit.client.ingest import read_event
from tacit.client.policy import TrustRoots
from tacit.client.rights_log import RightsReceipt
from tacit.client.verification import Checkpoints
from tacit.client.wire import Servers
from tacit.privacy.canonical import Json, canonical_json, encode_real, parse_canonical
from tacit.privacy.erasure import ErasureRequest, ErasureStatement
from tacit.privacy.errors import PrivacyError
from tacit.privacy.receipt import verify_receipt
from tacit.privacy.release import KINDS
from tacit.privacy.signals import PURPOSES, SIGNALS
from tacit.privacy.signatures import verify

if TYPE_CHECKING:
    from tacit.client.personalizer import Personalizer


@dataclass(frozen=True, slots=True)
class HandedOut:
    """What `access` and `export` answer.

    Attributes:
        document: JSON values.
        receipt: names the document by its digest (SHA-256 of its canonical JSON).
    """

    document: dict[str, Json]
    receipt: RightsReceipt


class Rights:
    """The verbs of one device (`Personalizer.rights`)."""

    def __init__(self, device: Personalizer) -> None:
        self._device = device

    def receipts(self) -> list[RightsReceipt]:
        """Return every receipt, oldest first, each with what has come of it by now."""
        open_decisions = {one.seq for one in self._device.consents.pending()}
        return [
            replace(one, pending=not open_decisions.isdisjoint(one.consents))
            if one.consents and one.verb != "erase"
            else one
            for one in self._device.rights_log.entries()
        ]

    def access(self) -> HandedOut:
        """Return everything this device holds about the person, whatever it may be used for."""
        device, now_ms = self._device, self._device.clock_ms()
        events = device.events.read(SIGNALS, linked=True)
        state = device.consents.state(now_ms)
        releases = {kind: device.releases.get(kind) for kind in KINDS}
        suppressed = device.suppressions.get()
        document: dict[str, Json] = {
            "type": "tacit.access/1",
            "device_id": device.device_id,
            "population": device.population,
            "traits": device.traits(),
            "opted_out_of_flags": [*sorted(device.flags.opted_out())],
            "events": [_event(entry.sequence, entry.event) for entry in events],
            "permitted": {purpose: [*sorted(signals)] for purpose, signals in state.items()},
            "decisions": [event.to_json() for _, event in device.consents.signed()],
            "contributions": [
                {
                    "task_sha256": one.task_sha256,
                    "round_id": one.round_id,
                    "signals": list(one.signals),
                    "noise_multiplier": encode_real(one.noise_multiplier),
                    "entered_at_ms": one.entered_at_ms,
                }
                for one in device.participation.entries()
            ],
            "shown": [_without_floats(row) for row in device.journal.rows()],
            "suppressed": {
                "items": [*sorted(suppressed.items)],
                "categories": [*sorted(suppressed.categories)],
                "channels": [*sorted(suppressed.channels)],
                "features": [*sorted(suppressed.features)],
            },
            "releases": {
                kind: held.manifest.version for kind, held in releases.items() if held is not None
            },
        }
        return self._hand_out("access", document, f"{len(events)} events and every decision shown")

    def export(self) -> HandedOut:
        """Return the consent records (ISO/IEC TS 27560 shape, DPV terms) with their proofs."""
        device = self._device
        records = consent_records(device.consents, device.facts.identity().public_key)
        document: dict[str, Json] = {"type": "tacit.consent-export/1", "records": [*records]}
        return self._hand_out("export", document, f"{len(records)} consent records exported")

    def rectify(
        self, event_id: str, event: str = "", properties: Mapping[str, object] | None = None
    ) -> RightsReceipt:
        """Correct an event, or delete it where no other is given.

        What was contributed before stays in sums that were noised; what is computed from now on
        reads the corrected event.

        Args:
            event_id: the id it was tracked under.
            event: name of the event, as for `Personalizer.track`; empty to delete.
            properties: its properties.

        Raises:
            BadEvent: if no event goes by this id, or a property cannot be used.
            UnknownEvent: if the name stands for no signal.
        """
        held = self._device.events.find(event_id)
        if held is None:
            raise BadEvent("expected the id of a recorded event, got another")
        corrected = None
        if event:
            corrected = replace(
                read_event(event, properties or {}, held.event.recorded_at_ms), event_id=event_id
            )
            permitted = self._device.consents.state(self._device.clock_ms()).values()
            if corrected.signal not in frozenset[str]().union(*permitted):
                raise BadEvent(f"no consent covers {corrected.signal!r}, so it cannot be recorded")
        self._device.events.replace(held.sequence, corrected)
        self._device.reread()
        what = "corrected" if event else "deleted"
        return self._keep("rectify", f"event {held.sequence} {what}")

    def withdraw(
        self, purpose: str | None = None, signals: Collection[str] | None = None
    ) -> RightsReceipt:
        """Withdraw consent, as easily as it was given: all of it, or a purpose, or its signals.

        Args:
            purpose: `decide`, `learn` or `measure`; None for all of them.
            signals: signals to take back; None for all that are granted.

        Raises:
            BadEvent: if purpose or signals are unknown.
        """
        made = self._refuse([purpose] if purpose is not None else list(PURPOSES), signals)
        what = "" if signals is None else f" ({', '.join(sorted(signals))})"
        return self._keep(
            "withdraw", f"consent withdrawn: {_named(made)}{what}", tuple(made.values())
        )

    def object(self, purpose: str) -> RightsReceipt:
        """Object to a purpose: it is refused from now on, also where consent was only implied.

        Raises:
            BadEvent: if the purpose is unknown.
        """
        now_ms = self._device.clock_ms()
        if purpose in PURPOSES and not self._device.consents.permitted(purpose, now_ms):
            # Nothing to take away, yet the refusal goes on record.
            made = {purpose: self._device.decide(purpose, BASIC_SIGNALS, granted=False).seq}
        else:
            made = self._refuse([purpose], None)
        return self._keep("object", f"objection recorded: {purpose}", tuple(made.values()))

    def erase(self) -> RightsReceipt:
        """Erase everything about the person, here at once and at the ledger with the next sync.

        Here: consent is withdrawn, events and models are deleted. What the ledger needs to erase in
        turn (the key that signs, the receipts, the list of rounds) goes when it has answered with a
        signed statement (`finish_erasure`); then the store's data key is replaced. A device that
        never enrolled is done at once.
        """
        device = self._device
        if asked := self._pending_erasure():
            return asked
        self._refuse(list(PURPOSES), None)
        device.events.erase_all()
        device.journal.erase_all()
        device.releases.erase_all()
        device.reload()
        device.reread()
        if device.population is None:
            receipt = self._keep("erase", "everything on this device erased; no ledger knew of it")
            self._purge({})
            return receipt
        device.store.checkpoint()
        destroy_copies(device.store.path)
        # Pending from the first byte of it: no kill may leave one that nobody asks the ledger for.
        return self._keep("erase", "events and models erased on this device", pending=True)

    @property
    def erasure_pending(self) -> bool:
        """Whether the ledger has still to answer an erasure."""
        return self._pending_erasure() is not None

    def finish_erasure(self, servers: Servers, trust: TrustRoots) -> RightsReceipt | None:
        """Have the ledger erase this device, verify its answer, and erase what is left here.

        1. The statement is signed by the ledger, and answers this very request.
        2. It labels exactly the rounds this device took part in.
        3. The consent log commits to it, and extends what was seen.

        Returns:
            The receipt, now with the ledger's statement; None if no erasure is pending.

        Raises:
            ReceiptRefused: if step 1, 2 or 3 fails; the erasure stays pending.
            RollbackRefused: if the consent log shrank or forked.
        """
        device = self._device
        pending = self._pending_erasure()
        if pending is None:
            return None
        identity = device.facts.identity()
        rounds = tuple((one.task_sha256, one.round_id) for one in device.participation.entries())
        # A fresh request each time: a reply that was lost is answered anew.
        request = ErasureRequest(
            os.urandom(16).hex(), identity.key_id, pending.at_ms, rounds
        ).to_bytes()
        checkpoints, origin = Checkpoints(device.facts), trust.consent_origin
        answer = servers.erase(
            request,
            identity.sign(ErasureRequest.SIGNING_CONTEXT, request),
            identity.public_key,
            checkpoints.known_size(origin),
        )
        key = trust.ledger_key
        try:
            verify(key, ErasureStatement.SIGNING_CONTEXT, answer.statement, answer.signature)
            statement = ErasureStatement.from_json(parse_canonical(answer.statement))
            checkpoint = verify_receipt(
                answer.receipt,
                answer.statement,
                answer.signature,
                origin=origin,
                name=origin,
                ledger_key=key,
                witnesses=trust.witnesses,
            )
        except PrivacyError as error:
            raise ReceiptRefused(f"erasure: {error}") from None
        if statement.request_sha256 != hashlib.sha256(request).hexdigest():
            raise ReceiptRefused("erasure: the ledger's statement answers another request")
        if tuple((one.task_sha256, one.round_id) for one in statement.rounds) != rounds:
            raise ReceiptRefused("erasure: the ledger's statement labels other rounds")
        checkpoints.extend(checkpoint, answer.receipt.consistency)
        labels = [one.label for one in statement.rounds]
        counts = ", ".join(f"{labels.count(label)} {label}" for label in sorted(set(labels)))
        done = replace(
            pending,
            pending=False,
            summary=f"erased here and at the ledger; past contributions: {counts or 'none'}",
            statement=answer.statement.hex(),
            signature=answer.signature.hex(),
            leaf_receipt=canonical_json(
                {
                    "commitment_key": answer.receipt.commitment_key.hex(),
                    "index": answer.receipt.index,
                    "inclusion": [node.hex() for node in answer.receipt.inclusion],
                    "checkpoint": answer.receipt.checkpoint.hex(),
                }
            ).hex(),
        )
        device.rights_log.put(done)
        origins = (origin, trust.governance_origin)
        self._purge({k: v for one in origins for k, v in checkpoints.fact(one).items()})
        return done

    def _pending_erasure(self) -> RightsReceipt | None:
        entries = self._device.rights_log.entries()
        return next((one for one in entries if one.verb == "erase" and one.pending), None)

    def _purge(self, kept: dict[str, bytes]) -> None:
        """Erase the store under a new data key; only receipts and public checkpoints stay."""
        erase_keeping(self._device.store, kept | self._device.rights_log.as_facts())
        self._device.start_over()

    def _refuse(self, purposes: list[str], signals: Collection[str] | None) -> dict[str, int]:
        """Refuse what is permitted for some purposes; returns purpose → number of the decision."""
        now_ms = self._device.clock_ms()
        made: dict[str, int] = {}
        for purpose in purposes:
            stands = self._device.consents.permitted(purpose, now_ms) if purpose in PURPOSES else ()
            taken = stands if signals is None else signals
            if taken or purpose not in PURPOSES:
                made[purpose] = self._device.decide(purpose, taken, granted=False).seq
        return made

    def _hand_out(self, verb: str, document: dict[str, Json], summary: str) -> HandedOut:
        digest = hashlib.sha256(canonical_json(document)).hexdigest()
        return HandedOut(document, self._keep(verb, summary, sha256=digest))

    def _keep(
        self,
        verb: str,
        summary: str,
        consents: tuple[int, ...] = (),
        sha256: str = "",
        *,
        pending: bool = False,
    ) -> RightsReceipt:
        return self._device.rights_log.add(
            RightsReceipt(
                number=0,
                verb=verb,
                at_ms=self._device.clock_ms(),
                pending=pending or bool(consents),
                summary=summary,
                consents=consents,
                sha256=sha256,
            )
        )


def _named(made: Mapping[str, int]) -> str:
    return ", ".join(made) or "nothing was granted"


def _without_floats(value: object) -> Json:
    """Return a row of the journal as canonical JSON, which has no floats: decimals instead."""
    if isinstance(value, float):
        return encode_real(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {str(name): _without_floats(one) for name, one in items}
    if isinstance(value, list | tuple):
        return [_without_floats(one) for one in cast("Sequence[object]", value)]
    return cast(Json, value)


def _event(sequence: int, event: Event) -> dict[str, Json]:
    # Numbers as decimal strings, as everywhere in canonical documents; properties as JSON text.
    return {
        "sequence": sequence,
        "name": event.name,
        "signal": event.signal,
        "items": list(event.items),
        "value": None if event.value is None else encode_real(event.value),
        "recorded_at_ms": event.recorded_at_ms,
        "properties": json.dumps(dict(event.properties), sort_keys=True),
    }
