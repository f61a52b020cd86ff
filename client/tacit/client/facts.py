"""Facts: the single values a device keeps, sealed under their names.

Identity key, device secret, enrolment, remembered checkpoints and the like: one row each. Secrets
that are made on first use are durable before anything is derived from them.
"""

from __future__ import annotations

import os
import sqlite3

from tacit.client.errors import StoreDamaged
from tacit.client.sealing import Sealer
from tacit.client.store import Store
from tacit.privacy.signatures import SigningKey

_IDENTITY = "identity"
_SECRET = "device-secret"


class Facts:
    """Read and write single sealed values."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, name: str) -> bytes | None:
        """Return a fact, or None if it was never written.

        Raises:
            StoreDamaged: if the record was altered, moved or sealed under another key.
        """
        tag = self._store.sealer.tag("fact", name)
        with self._store.reading() as connection:
            row = connection.execute(
                "SELECT epoch, sealed FROM facts WHERE tag = ?", (tag,)
            ).fetchone()
        if row is None:
            return None
        try:
            return self._store.unseal(fact_kind(tag), 0, row[0], row[1])
        except StoreDamaged:
            # Format 1 bound a fact to its name. It is bound to its tag once it was read, so that a
            # rotation, which sees tags and no names, can seal it anew.
            value = self._store.unseal(f"fact/{name}", 0, row[0], row[1])
            self.put(name, value)
            return value

    def put(self, name: str, value: bytes) -> None:
        """Write a fact; on the disk when this returns."""
        with self._store.power_safe() as connection:
            self.put_within(connection, name, value)

    def put_within(self, connection: sqlite3.Connection, name: str, value: bytes) -> None:
        """Write a fact inside a transaction of the caller's, which makes it durable."""
        connection.execute(
            "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)",
            sealed_fact(self._store.sealer, name, value),
        )

    def remove(self, name: str) -> None:
        """Remove a fact, if it is there; durable when this returns."""
        tag = self._store.sealer.tag("fact", name)
        with self._store.power_safe() as connection:
            connection.execute("DELETE FROM facts WHERE tag = ?", (tag,))

    def identity(self) -> SigningKey:
        """Return the device's signing key, made on first use from the system's CSPRNG."""
        return SigningKey(self._secret(_IDENTITY))

    def device_secret(self) -> bytes:
        """Return the 32 bytes that rounding streams and pseudonyms are derived from."""
        return self._secret(_SECRET)

    def _secret(self, name: str) -> bytes:
        value = self.get(name)
        if value is None:
            value = os.urandom(32)
            self.put(name, value)
        return value


def fact_kind(tag: bytes) -> str:
    """Return the kind a fact is sealed under: bound to its tag, and so to its name."""
    return f"fact/{tag.hex()}"


def sealed_fact(sealer: Sealer, name: str, value: bytes) -> tuple[bytes, int, bytes]:
    """Return the row of a fact."""
    tag = sealer.tag("fact", name)
    return tag, sealer.epoch, sealer.seal(fact_kind(tag), 0, value)
