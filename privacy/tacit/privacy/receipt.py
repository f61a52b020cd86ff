"""Consent receipts: proof that the consent log holds a device's event, without showing it.

A leaf is 33 bytes, `version ‖ HMAC-SHA256(k, canonical(event with device_sig))` with a fresh
32-byte k. It hides the event from everyone without k (also from those who can guess it, because k
is random), binds it against change, and becomes meaningless when k is destroyed: that is erasure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy.canonical import Json, canonical_json, parse_canonical
from tacit.privacy.checkpoint import Checkpoint
from tacit.privacy.cosignature import NO_QUORUM, Quorum, verify_witnessed
from tacit.privacy.errors import BadDocument, BadParameter
from tacit.privacy.merkle import leaf_hash, verify_consistency, verify_inclusion
from tacit.privacy.signatures import SIGNATURE_BYTES

LEAF_VERSION = b"\x01"
LEAF_BYTES = 33
COMMITMENT_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the ledger answers to one consent event.

    Attributes:
        commitment_key: 32 bytes that open the leaf.
        index: position of the leaf in the consent log.
        inclusion: audit path from the leaf to the checkpoint's root.
        checkpoint: signed note covering the leaf.
        consistency: proof from the size the device remembered to the checkpoint.
    """

    commitment_key: bytes
    index: int
    inclusion: tuple[bytes, ...]
    checkpoint: bytes
    consistency: tuple[bytes, ...]


def leaf(event_bytes: bytes, device_signature: bytes, commitment_key: bytes) -> bytes:
    """Return the 33-byte leaf data that commits to one signed consent event.

    Raises:
        BadParameter: if key or signature have the wrong size.
        BadDocument: if the event is not canonical JSON.
    """
    return leaf_of(parse_canonical(event_bytes), device_signature, commitment_key)


def leaf_of(event: Mapping[str, Json], device_signature: bytes, commitment_key: bytes) -> bytes:
    """Return the leaf of an event that was parsed from its canonical bytes already; see `leaf`."""
    if len(commitment_key) != COMMITMENT_KEY_BYTES or len(device_signature) != SIGNATURE_BYTES:
        raise BadParameter("expected a 32-byte commitment key and a 64-byte signature")
    if "device_sig" in event:
        raise BadDocument("consent: unknown field 'device_sig'")
    document = {**event, "device_sig": device_signature.hex()}
    digest = hmac.digest(commitment_key, canonical_json(document), hashlib.sha256)
    return LEAF_VERSION + digest


def verify_receipt(
    receipt: Receipt,
    event_bytes: bytes,
    device_signature: bytes,
    *,
    origin: str,
    name: str,
    ledger_key: bytes,
    known: Checkpoint | None = None,
    witnesses: Quorum = NO_QUORUM,
) -> Checkpoint:
    """Verify that the consent log holds exactly this event, and that the log only grew.

    1. The checkpoint is signed by the ledger, is of the consent log, and was cosigned by a quorum
       of witnesses if one is demanded.
    2. The leaf, opened with the commitment key, commits to this event and signature.
    3. The leaf is included under the checkpoint.
    4. The checkpoint extends the one the device remembers, if any.

    Args:
        receipt: the ledger's answer.
        event_bytes: canonical bytes of the event that was sent.
        device_signature: the signature that was sent with it.
        origin: the consent log's origin.
        name: the ledger's key name.
        ledger_key: pinned 32-byte public key.
        known: the checkpoint remembered from last time; the new one is to be remembered instead.
        witnesses: who must have cosigned it.

    Returns:
        The verified checkpoint.

    Raises:
        BadSignature, BadProof, BadParameter: naming the step that failed.
    """
    checkpoint = verify_witnessed(receipt.checkpoint, origin, name, ledger_key, witnesses)
    hashed = leaf_hash(leaf(event_bytes, device_signature, receipt.commitment_key))
    verify_inclusion(hashed, receipt.index, checkpoint.size, receipt.inclusion, checkpoint.root)
    if known is not None and known.size > 0:
        verify_consistency(
            known.size, known.root, checkpoint.size, checkpoint.root, receipt.consistency
        )
    return checkpoint
