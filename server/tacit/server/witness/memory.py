"""What a witness remembers: the newest checkpoint it cosigned of each log, durably."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from tacit.privacy.checkpoint import Checkpoint
from tacit.server.errors import StateCorrupt


class WitnessMemory:
    """One SQLite file; one process, any number of threads.

    A checkpoint is on disk (`synchronous=FULL`) before `advance` returns, and looking at the old
    one and writing the new one is one transaction: a witness that is killed, or asked twice at
    once, never cosigns two histories.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            StateCorrupt: if it cannot be used.
        """
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30
            )
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS cosigned ("
                "origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error):
            raise StateCorrupt(f"{path} is not a readable witness database") from None

    def known(self, origin: str) -> Checkpoint | None:
        """Return the newest checkpoint it cosigned of a log, None for none."""
        with self._lock:
            return self._known(origin)

    def advance(self, checkpoint: Checkpoint, check: Callable[[Checkpoint | None], None]) -> None:
        """Remember a checkpoint if `check`, called with the newest one known, does not raise."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                check(self._known(checkpoint.origin))
                self._connection.execute(
                    "INSERT INTO cosigned VALUES (?, ?, ?) ON CONFLICT (origin) "
                    "DO UPDATE SET size = excluded.size, root = excluded.root",
                    (checkpoint.origin, checkpoint.size, checkpoint.root),
                )
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _known(self, origin: str) -> Checkpoint | None:
        row = self._connection.execute(
            "SELECT size, root FROM cosigned WHERE origin = ?", (origin,)
        ).fetchone()
        return None if row is None else Checkpoint(origin, int(row[0]), bytes(row[1]))
