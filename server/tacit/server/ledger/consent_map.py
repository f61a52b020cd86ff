"""The current-state map at the ledger: rows become epochs, epochs answer for single devices.

`ConsentStore` writes the rows in the transaction of each leaf. Publishing takes whatever changed
since the last epoch, in one transaction with the governance entry that states the new root; the
tree in memory is swapped after the commit and after the anchor is written. It is immutable, so a
failed transaction leaves nothing to undo, and proofs never wait for a publication. What is in the
rows is read from them: an epoch that was committed and could not be anchored is taken up then.

Crash points: before the commit, no epoch; after it, `load` finds the epoch and builds the same tree
from the same rows, unless decisions came since, which are then published at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from tacit.privacy.canonical import Json
from tacit.privacy.consent_map import ENTRY_KIND, MapEpoch
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.signatures import SigningKey
from tacit.privacy.state_map import KEY_BYTES, StateMap
from tacit.server.errors import InvalidRequest, StateCorrupt
from tacit.server.ledger.database import retried
from tacit.server.ledger.log import Logs
from tacit.server.ledger.tables import map_entries, map_epochs, map_removals

MAX_KEYS = 8


@dataclass(frozen=True, slots=True)
class _Published:
    """The newest epoch: its number, what it covers, where it stands in the log, its tree."""

    epoch: int
    consent_size: int
    position: int
    tree: StateMap


class ConsentMap:
    """Publish epochs and prove what the newest one says. Thread-safe."""

    def __init__(self, logs: Logs, key: SigningKey, now_ms: int) -> None:
        """Load the newest epoch, or publish what it does not hold yet.

        Raises:
            StateCorrupt: if the rows do not give the root that was published for them.
        """
        self._logs = logs
        self._key = key
        self._lock = threading.RLock()
        self._published: _Published | None = None
        with logs.database.reading() as connection:
            self._published = newest = self._newest(connection)
        # Without its tree an old epoch can be named but not proved, so the next one follows.
        if logs.consent.size and (newest is None or not newest.tree.size):
            self._publish(now_ms)

    @property
    def epoch(self) -> int:
        """Number of the newest epoch; 0 before the first."""
        published = self._published
        return 0 if published is None else published.epoch

    def publish(self, now_ms: int) -> bool:
        """Publish an epoch if the consent log grew since the last one; returns whether it did."""
        with self._lock:
            return self._publish(now_ms)

    def prove(
        self, covering: int, keys: Sequence[bytes], now_ms: int
    ) -> tuple[int, list[bytes]] | None:
        """Prove what the newest epoch says of some keys.

        Args:
            covering: an epoch that covers so many consent leaves is published first if needed.
            keys: at most 8 of 32 bytes.
            now_ms: Unix milliseconds.

        Returns:
            Index of the epoch's governance entry, and a proof for each key; None before the first
            epoch.

        Raises:
            InvalidRequest: if keys have the wrong size or number, or the log is shorter.
        """
        if len(keys) > MAX_KEYS or any(len(key) != KEY_BYTES for key in keys):
            raise InvalidRequest(f"expected at most {MAX_KEYS} keys of {KEY_BYTES} bytes")
        if covering > self._logs.consent.size:
            raise InvalidRequest("expected to cover no more than the consent log has")
        published = self._published
        # At most one epoch a leaf, however often it is asked for.
        if published is None or published.consent_size < covering:
            self.publish(now_ms)
            published = self._published
        if published is None:
            return None
        return published.position, [published.tree.prove(key) for key in keys]

    @retried
    def _publish(self, now_ms: int) -> bool:
        with self._logs.writing() as connection:
            before, size = self._newest(connection), self._logs.consent.written
            grown = size > (0 if before is None else before.consent_size)
            published = self._next(connection, before, size, now_ms) if grown else before
        # Not if the anchor could not be written, which is after the commit: the rows are then ahead
        # of what is answered, and the next call takes the epoch from them.
        self._published = published
        return grown

    def _newest(self, connection: Connection) -> _Published | None:
        """Return the newest epoch of the rows, with its tree or an empty one if that is gone."""
        row = connection.execute(
            select(map_epochs).order_by(map_epochs.c.epoch.desc()).limit(1)
        ).one_or_none()
        known = self._published
        if row is None or (known is not None and known.epoch == row.epoch):
            return None if row is None else known
        tree = StateMap(_entries(connection, 0))
        if tree.root != row.map_root:
            if self._logs.consent.written <= row.consent_size:
                raise StateCorrupt("consent map: its entries do not give the root last published")
            tree = StateMap()
        return _Published(row.epoch, row.consent_size, row.position, tree)

    def _next(
        self, connection: Connection, before: _Published | None, size: int, now_ms: int
    ) -> _Published:
        """Write the epoch that follows, over `size` consent leaves."""
        if before is None or not before.tree.size:
            tree = StateMap(_entries(connection, 0))
        else:
            removed = connection.execute(select(map_removals.c.key)).scalars()
            changes: dict[bytes, bytes | None] = dict.fromkeys(removed)
            tree = before.tree.updated(changes | _entries(connection, before.consent_size))
        connection.execute(delete(map_removals))
        number = 1 if before is None else before.epoch + 1
        root = self._logs.consent.root()
        body: dict[str, Json] = MapEpoch(number, size, root.hex(), tree.root.hex()).to_json()
        entry = GovernanceEntry.sign(ENTRY_KIND, body, now_ms, self._key)
        position = self._logs.governance.append(connection, entry.to_bytes())
        connection.execute(
            insert(map_epochs),
            {"epoch": number, "consent_size": size, "map_root": tree.root, "position": position},
        )
        return _Published(number, size, position, tree)


def _entries(connection: Connection, from_position: int) -> dict[bytes, bytes]:
    rows = connection.execute(
        select(map_entries.c.key, map_entries.c.value).where(
            map_entries.c.position >= from_position
        )
    )
    return {row.key: row.value for row in rows}
