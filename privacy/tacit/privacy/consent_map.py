"""The current-state map of the consent log: which leaf holds the latest decision of each purpose.

A log shows that a decision was recorded; it cannot show that no later one was. So each epoch the
ledger publishes the root of a `state_map` with one entry per device and purpose,

    key    HMAC-SHA256(b, "index" ‖ purpose)
    value  HMAC-SHA256(b, "value" ‖ u64 position ‖ leaf)      of the latest decision's log leaf

where b = HMAC-SHA256(k, "tacit/v1/consent-map") and k is the commitment key of the first leaf of
the device's chain. Nothing is chosen for the map alone: leaf 1 binds k (finding another k for the
same leaf is a collision of SHA-256), so the ledger cannot look up a device in one place and show it
another, and whoever is given the receipts of a chain can recompute its keys and values.

What is hidden, and from whom. Without k (everyone but the device and the ledger, until erasure;
then everyone but the device) keys and values are outputs of a PRF: they name no device, link no two
purposes of one, say neither what was decided nor which leaf it is, and cannot be enumerated. A
proof also shows the hashes of neighbours, at most one other opaque entry, and about how many
entries there are; whoever collects proofs over epochs sees when some unknown neighbour changed.
Only roots are published, so that the public does not even see that. The ledger knows all of it.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from tacit.privacy.canonical import Fields, Json
from tacit.privacy.errors import BadDocument, BadParameter, RollbackDetected
from tacit.privacy.receipt import COMMITMENT_KEY_BYTES, LEAF_BYTES
from tacit.privacy.signals import check_purpose

ENTRY_KIND = "consent.map"
"""Kind of the governance entry that publishes an epoch; the ledger itself signs it."""

_TYPE = "tacit.consent-map/1"
_BLINDING = b"tacit/v1/consent-map"


def blinding_key(first_commitment_key: bytes) -> bytes:
    """Derive a device's blinding key from the commitment key of leaf 1 of its chain.

    Raises:
        BadParameter: if that key is not 32 bytes.
    """
    if len(first_commitment_key) != COMMITMENT_KEY_BYTES:
        raise BadParameter(f"expected a commitment key of {COMMITMENT_KEY_BYTES} bytes")
    return hmac.digest(first_commitment_key, _BLINDING, hashlib.sha256)


def map_key(blinding: bytes, purpose: str) -> bytes:
    """Return the 32-byte key under which a device's decision about a purpose stands.

    Raises:
        BadDocument: if there is no such purpose.
    """
    name = check_purpose(purpose).encode("ascii")
    return hmac.digest(blinding, b"index\0" + name, hashlib.sha256)


def map_value(blinding: bytes, position: int, leaf: bytes) -> bytes:
    """Return the 32-byte value that names one leaf of the consent log.

    Args:
        blinding: the device's blinding key.
        position: index of the leaf in the consent log.
        leaf: its 33 bytes.

    Raises:
        BadParameter: if position or leaf have the wrong range or size.
    """
    if len(leaf) != LEAF_BYTES or not 0 <= position < 2**63:
        raise BadParameter(f"expected a leaf of {LEAF_BYTES} bytes and its position")
    return hmac.digest(blinding, b"value\0" + struct.pack(">Q", position) + leaf, hashlib.sha256)


@dataclass(frozen=True, slots=True)
class MapEpoch:
    """One published epoch (body of a governance entry of kind `consent.map`).

    Attributes:
        epoch: 1, 2, 3, …
        consent_size: the map holds the decisions of exactly so many leaves of the consent log.
        consent_root: hex root of the consent log at that size.
        map_root: hex root of the map.
    """

    epoch: int
    consent_size: int
    consent_root: str
    map_root: str

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": _TYPE,
            "epoch": self.epoch,
            "consent_size": self.consent_size,
            "consent_root": self.consent_root,
            "map_root": self.map_root,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> MapEpoch:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "consent map")
        if fields.text("type") != _TYPE:
            raise BadDocument(f"consent map.type: expected {_TYPE!r}")
        epoch = cls(
            epoch=fields.integer("epoch", 1),
            consent_size=fields.integer("consent_size", 1),
            consent_root=fields.text("consent_root", max_length=64),
            map_root=fields.text("map_root", max_length=64),
        )
        fields.done()
        for name in (epoch.consent_root, epoch.map_root):
            if len(name) != 64 or set(name) - set("0123456789abcdef"):
                raise BadDocument("consent map: expected roots of 64 lower-case hex digits")
        return epoch


def check_follows(epoch: MapEpoch, previous: MapEpoch | None) -> None:
    """Check that an epoch may come right after another, or be the first.

    Raises:
        RollbackDetected: if its number is not the next, or it covers no more of the log.
    """
    number, covered = (0, 0) if previous is None else (previous.epoch, previous.consent_size)
    if epoch.epoch != number + 1:
        raise RollbackDetected(f"expected map epoch {number + 1}, got {epoch.epoch}")
    if epoch.consent_size <= covered:
        raise RollbackDetected(
            f"map epoch {epoch.epoch}: expected to cover more than {covered} leaves, "
            f"got {epoch.consent_size}"
        )
