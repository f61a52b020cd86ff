"""Seal records: AES-256-GCM, each bound to where it stands in the store."""

from __future__ import annotations

import hmac
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tacit.client.errors import StoreDamaged
from tacit.client.keys import NONCE_BYTES, derive_key

TAG_BYTES = 16


class Sealer:
    """Encrypt and authenticate the records of one epoch of one store.

    The associated data is `(sequence, epoch, kind)`, so a record that is moved, renumbered or
    passed off as another kind does not open. Nonces are 96 random bits: with fewer than 2^32
    records under one key the chance of a repeat stays below 2^-32 (NIST SP 800-38D, 8.3).

    What this does not hide: the number of records, their sizes to the byte, which rows were
    written together, and which events share a signal (the tag below is equal for equal names).
    """

    def __init__(self, data_key: bytes, epoch: int, index_key: bytes | None = None) -> None:
        """Derive the keys of an epoch.

        Args:
            data_key: of the epoch.
            epoch: its number.
            index_key: what tags are made with; None for one of this epoch's own. A rotation carries
                it on, for the names behind tags are nowhere stored and so cannot be tagged anew.
        """
        self._aead = AESGCM(derive_key(data_key, b"records"))
        self.index_key = derive_key(data_key, b"tags") if index_key is None else index_key
        self.epoch = epoch

    def seal(self, kind: str, sequence: int, content: bytes) -> bytes:
        """Encrypt `content`; returns nonce ‖ ciphertext ‖ tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, content, self._associated(kind, sequence))

    def open(self, kind: str, sequence: int, sealed: bytes) -> bytes:
        """Decrypt what `seal` returned for the same kind and sequence.

        Raises:
            StoreDamaged: if the record was altered, moved or sealed under another key.
        """
        try:
            return self._aead.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._associated(kind, sequence)
            )
        except (InvalidTag, ValueError):
            raise StoreDamaged(f"a record of kind {kind!r} was altered or moved") from None

    def tag(self, kind: str, name: str) -> bytes:
        """Return a keyed 16-byte name for an index: equal for equal names, else unlinkable."""
        return hmac.digest(self.index_key, f"{kind}\0{name}".encode(), "sha256")[:TAG_BYTES]

    def _associated(self, kind: str, sequence: int) -> bytes:
        return struct.pack("<QI", sequence, self.epoch) + kind.encode("ascii")
