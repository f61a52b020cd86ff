"""Capabilities: the gateway's leave for one device to contribute to one round.

A capability is canonical JSON `{capability, signature}`; the signature (hex, Ed25519, context
`"capability"`) covers the canonical JSON of `capability`. It is bound to device, task, round and
the device's consent sequence, and is checked when issued, at upload and at the cut-off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tacit.privacy.canonical import Fields, Json, canonical_json, parse_canonical
from tacit.privacy.errors import BadDocument, BadSignature
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signatures import verify as verify_signature

MAX_CAPABILITY_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Capability:
    """One permission.

    Attributes:
        device_id: who may contribute.
        task_sha256: hex digest of the task manifest.
        round_id: the one round.
        signals: signals consented to and asked for, sorted.
        consent_sequence: number of consent events known when this was issued; the gateway drops
            the contribution at the cut-off if a later event withdrew consent.
        map_epoch: newest epoch of the current-state map when this was issued; the device takes
            part only if it is not older than the one in which it saw its own decisions stand.
        expires_at_ms: Unix milliseconds; refused from this time on.
        nonce: hex of 16 random bytes.
    """

    device_id: str
    task_sha256: str
    round_id: int
    signals: tuple[str, ...]
    consent_sequence: int
    map_epoch: int
    expires_at_ms: int
    nonce: str

    SIGNING_CONTEXT: ClassVar[str] = "capability"

    def to_json(self) -> dict[str, Json]:
        """Return the document that is signed."""
        return {
            "type": "tacit.capability/2",
            "device_id": self.device_id,
            "task_sha256": self.task_sha256,
            "round_id": self.round_id,
            "signals": list(self.signals),
            "consent_sequence": self.consent_sequence,
            "map_epoch": self.map_epoch,
            "expires_at_ms": self.expires_at_ms,
            "nonce": self.nonce,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> Capability:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "capability")
        if fields.text("type") != "tacit.capability/2":
            raise BadDocument("capability.type: expected 'tacit.capability/2'")
        capability = cls(
            device_id=fields.text("device_id"),
            task_sha256=fields.text("task_sha256", max_length=64),
            round_id=fields.integer("round_id", 1, 10_000),
            signals=fields.texts("signals"),
            consent_sequence=fields.integer("consent_sequence", 0),
            map_epoch=fields.integer("map_epoch", 0),
            expires_at_ms=fields.integer("expires_at_ms", 0),
            nonce=fields.text("nonce", max_length=32),
        )
        fields.done()
        return capability


def issue(key: SigningKey, capability: Capability) -> bytes:
    """Sign a capability with the gateway's key and return its bytes."""
    document = capability.to_json()
    signature = key.sign(Capability.SIGNING_CONTEXT, canonical_json(document))
    return canonical_json({"capability": document, "signature": signature.hex()})


def read_unverified(data: bytes) -> Capability:
    """Read what a capability says; the gateway that signed it is the one who checks the signature.

    Raises:
        BadDocument: if it is malformed.
    """
    document, _ = _open(data)
    return Capability.from_json(document)


def verify(
    public_key: bytes, data: bytes, now_ms: int, device_id: str, task_sha256: str, round_id: int
) -> Capability:
    """Verify that `data` allows this device to contribute to this round now.

    Raises:
        BadSignature: if it was not signed by `public_key`, was issued for another device, task or
            round, or has expired.
        BadDocument: if it is malformed.
    """
    document, signature = _open(data)
    verify_signature(public_key, Capability.SIGNING_CONTEXT, canonical_json(document), signature)
    capability = Capability.from_json(document)
    if capability.device_id != device_id:
        raise BadSignature("the capability was issued to another device")
    if capability.task_sha256 != task_sha256 or capability.round_id != round_id:
        raise BadSignature("the capability was issued for another task or round")
    if now_ms >= capability.expires_at_ms:
        raise BadSignature(f"the capability expired at {capability.expires_at_ms} ms")
    return capability


def _open(data: bytes) -> tuple[dict[str, Json], bytes]:
    if len(data) > MAX_CAPABILITY_BYTES:
        raise BadDocument(f"expected a capability of at most {MAX_CAPABILITY_BYTES} bytes")
    envelope = parse_canonical(data)
    document = envelope.pop("capability", None)
    signature_hex = envelope.pop("signature", None)
    if not isinstance(document, dict) or not isinstance(signature_hex, str) or envelope:
        raise BadDocument("expected a capability and its signature, nothing else")
    try:
        return document, bytes.fromhex(signature_hex)
    except ValueError:
        raise BadDocument("capability.signature: expected hexadecimal digits") from None
