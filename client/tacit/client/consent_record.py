"""Consent records: what a person takes away, shaped as ISO/IEC TS 27560:2023, in W3C DPV terms.

One record a decision, with the sections of the specification (record, `pii_processing`, `events`,
`party_identification`) and the vocabulary of the DPV guide to it (https://w3id.org/dpv/guides/
consent-27560), and beside them `proof`: the event as it was signed, the ledger's receipt, and what
it takes to verify both with nobody's help (`verify_record`).
"""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Mapping
from typing import cast

from tacit.client.consents import ConsentLog, SignedConsent
from tacit.privacy.canonical import Json
from tacit.privacy.checkpoint import Checkpoint
from tacit.privacy.consent import ConsentEvent
from tacit.privacy.errors import BadDocument
from tacit.privacy.receipt import Receipt, verify_receipt
from tacit.privacy.signals import PURPOSES, SIGNALS, Sensitivity
from tacit.privacy.signatures import verify

SCHEMA = "https://w3id.org/dpv/schema/iso-27560#record"
CONTEXT: Mapping[str, str] = {
    "dpv": "https://w3id.org/dpv#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
}
_STATUS = {
    "requested": "dpv:ConsentRequested",
    "given": "dpv:ConsentGiven",
    "refused": "dpv:ConsentRefused",
    "withdrawn": "dpv:ConsentWithdrawn",
    "expired": "dpv:ConsentExpired",
    "invalidated": "dpv:ConsentInvalidated",
}
_BASIS = {
    "consent": "dpv:Consent",
    "contract": "dpv:Contract",
    "legitimate_interest": "dpv:LegitimateInterest",
}
_EXPRESSION = {
    "prompt": "dpv:ExplicitlyExpressedConsent",
    "settings": "dpv:ExplicitlyExpressedConsent",
    "implied": "dpv:ImpliedConsent",
    "browser_signal": "dpv:ExpressedConsent",
}
_RIGHTS = ("A7-3", "A15", "A16", "A17", "A20", "A21")
"""Withdraw, access, rectify, erase, take away, object: articles of the GDPR, as DPV names them."""


def consent_records(consents: ConsentLog, public_key: bytes) -> list[dict[str, Json]]:
    """Return a record of every decision of the chain, oldest first.

    Args:
        consents: the device's chain.
        public_key: the device's 32-byte key, which signed it.
    """
    return [
        _record(signed, event, consents.receipt(signed.seq), public_key)
        for signed, event in consents.signed()
    ]


def verify_record(record: Mapping[str, Json], origin: str, ledger_key: bytes) -> Checkpoint:
    """Verify that a record says what the device signed and the consent log holds.

    1. Its sections are those that the signed event gives.
    2. The device's key signed the event.
    3. The receipt proves the event's leaf under a checkpoint signed by the ledger.

    Args:
        record: one of `consent_records`.
        origin: of the consent log.
        ledger_key: pinned 32-byte key.

    Returns:
        The checkpoint that covers it.

    Raises:
        BadDocument: if step 1 fails, or the ledger has not receipted the decision yet.
        BadSignature, BadProof, BadParameter: if step 2 or 3 fails.
    """
    proof = record.get("proof")
    if not isinstance(proof, dict) or not isinstance(held := proof.get("receipt"), dict):
        raise BadDocument("consent record: expected a proof with the ledger's receipt")
    event_bytes = _unbase64(proof, "event")
    signature, public_key = _unbase64(proof, "signature"), _unbase64(proof, "device_key")
    index, inclusion = held.get("index"), held.get("inclusion")
    if isinstance(index, bool) or not isinstance(index, int) or not isinstance(inclusion, list):
        raise BadDocument("consent record: expected a receipt with an index and an audit path")
    path = tuple(_unbase64({"node": node}, "node") for node in inclusion)
    key, note = _unbase64(held, "commitment_key"), _unbase64(held, "checkpoint")
    receipt = Receipt(key, index, path, note, ())
    event = ConsentEvent.parse(event_bytes)
    expected = _record(SignedConsent(event.seq, event_bytes, signature), event, receipt, public_key)
    if dict(record) != expected:
        raise BadDocument("consent record: it says something else than the signed event")
    verify(public_key, ConsentEvent.SIGNING_CONTEXT, event_bytes, signature)
    return verify_receipt(
        receipt, event_bytes, signature, origin=origin, name=origin, ledger_key=ledger_key
    )


def _record(
    signed: SignedConsent, event: ConsentEvent, receipt: Receipt | None, public_key: bytes
) -> dict[str, Json]:
    given = event.state == "given"
    status = "dpv:ConsentRefused" if event.gpc_conflict else _STATUS[event.state]
    recipients: list[Json] = [
        {"party_id": name, "party_role": "dpv:Recipient"} for name in event.recipients
    ]
    purpose: dict[str, Json] = {
        "purpose": event.purpose,
        "purpose_type": PURPOSES[event.purpose],
        "lawful_basis": _BASIS[event.lawful_basis],
        "pii_information": [_signal(name) for name in event.signals],
        "pii_controllers": [event.controller],
        "collection_method": "dpv:CollectedDataFromDataSubject",
        "processing_method": "on the device; clipped sums with noise leave it for learn, measure",
        "storage_locations": [event.storage_location],
        "retention_period": f"P{event.retention_days}D",
        "jurisdiction": event.jurisdiction,
        "recipient_third_parties": list(event.recipients),
        "withdrawal_method": event.withdrawal_uri,
        "privacy_rights": [f"eu-gdpr:{article}" for article in _RIGHTS],
    }
    return {
        "@context": dict(CONTEXT),
        "schema_version": SCHEMA,
        "record_id": event.record_id,
        "pii_principal_id": event.subject_pseudonym,
        "pii_processing": {
            "privacy_notice": {
                "id": event.notice.notice_id,
                "version": event.notice.version,
                "sha256": event.notice.sha256,
                "served_at": _time(event.notice.served_at_ms),
            },
            "language": event.notice.language,
            "purposes": [purpose],
        },
        "events": [
            {
                "event_time": _time(event.event_time_ms),
                "validity_duration": _time(event.valid_until_ms) if given else "none",
                "entity_id": event.subject_pseudonym,
                "event_type": _EXPRESSION[event.method],
                "event_state": status,
                "gpc": {"present": event.gpc_present, "conflict": event.gpc_conflict},
            }
        ],
        "party_identification": [
            {"party_id": event.controller, "party_role": "dpv:DataController"},
            *recipients,
        ],
        "proof": {
            "event": _base64(signed.event),
            "signature": _base64(signed.signature),
            "device_key": _base64(public_key),
            "receipt": None if receipt is None else _receipt(receipt),
        },
    }


def _signal(name: str) -> dict[str, Json]:
    known = SIGNALS[name]
    return {
        "pii_type": known.description,
        "pii_attribute_id": name,
        "pii_optional": True,
        "sensitive_pii_category": known.sensitivity is Sensitivity.SENSITIVE,
    }


def _receipt(receipt: Receipt) -> dict[str, Json]:
    return {
        "commitment_key": _base64(receipt.commitment_key),
        "index": receipt.index,
        "inclusion": [_base64(node) for node in receipt.inclusion],
        "checkpoint": _base64(receipt.checkpoint),
    }


def _time(at_ms: int) -> str:
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(document: Mapping[str, Json], name: str) -> bytes:
    try:
        return base64.b64decode(cast(str, document[name]), validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise BadDocument(f"consent record: {name}: expected base64") from None
