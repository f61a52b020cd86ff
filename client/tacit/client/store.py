"""The encrypted store: one SQLite file that means nothing without the host's key.

Contents are sealed record by record (`tacit.client.sealing`) under a data key that only the host's
`KeyProvider` can unwrap. What survives what:

- a kill of the process, at any instruction: every call that returned has its effect. Commits go
  through SQLite's write-ahead log, and what was written to a file outlives its writer;
- a loss of power: what was written in `power_safe` (consents, participation, keys) is on the disk
  when the call returns. What was written in `kill_safe` (events) may lose its last moments, never
  its order or its integrity; a sync to disk per page view would cost phones more than it is worth.

The file is opened by one process at a time (`locking_mode=EXCLUSIVE`), so state cached from it in
memory cannot go stale.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from tacit.client.damaged_copies import destroy_copies
from tacit.client.errors import StoreClosed, StoreDamaged, StoreUnavailable
from tacit.client.keys import KEY_BYTES, KeyProvider
from tacit.client.migration import FORMAT, steps_from
from tacit.client.sealing import Sealer

_KEY_PURPOSE = b"tacit/device/data-key/epoch/%d"
_LOCK_WAIT_S = 2.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS data_keys (epoch INTEGER PRIMARY KEY, wrapped BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS index_keys (epoch INTEGER PRIMARY KEY, sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS facts (
    tag BLOB PRIMARY KEY, epoch INTEGER NOT NULL, sealed BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL,
    event_tag BLOB NOT NULL UNIQUE, signal_tag BLOB NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_signal ON events (signal_tag);
CREATE TABLE IF NOT EXISTS consents (
    sequence INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, sealed BLOB NOT NULL,
    receipt BLOB);
CREATE TABLE IF NOT EXISTS participation (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL,
    round_tag BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS forgotten (event_tag BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL,
    decision_tag BLOB NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS decisions_by_tag ON decisions (decision_tag);
"""

ERASING = "erasing"
"""Plain number that is 1 from the transaction that erases until the log is known to be cut."""

INDEX_KEY = "index-key"
"""Kind under which a data key seals the index key that was carried over from an earlier epoch."""

TABLES = (
    *("data_keys", "index_keys", "facts", "events", "forgotten"),
    *("consents", "participation", "decisions"),
)
"""Everything that `erase` empties; `meta` holds two plain numbers and no content."""


class Store:
    """An open store.

    The tables are read and written by the classes that own them (`EventLog`, `ConsentLog`,
    `Participation`, …); this class owns the connection, the keys and the transactions.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, keys: KeyProvider) -> None:
        """Not for callers; use `Store.open`."""
        self.path = path
        self._connection: sqlite3.Connection | None = connection
        self._keys = keys
        self._lock = threading.RLock()
        self._depth = 0
        self._synchronous = ""
        self._sealers: dict[int, Sealer] = {}
        self._epoch = 0

    @classmethod
    def open(cls, path: Path, keys: KeyProvider) -> Store:
        """Open a store, making it on first use.

        Args:
            path: the database file; SQLite keeps `-wal` beside it.
            keys: wraps the store's data key.

        Raises:
            KeyUnavailable: if `keys` cannot unwrap the data key.
            StoreDamaged: if the file is no store, or what was read of it does not open; it stays
                as it is (`tacit.client.recovery` moves it aside).
            StoreUnavailable: if it cannot be opened, another process has it open, or a newer
                version of this client wrote it.
        """
        connection = _connect(path)
        store = cls(path, connection, keys)
        try:
            store._prepare()
        except sqlite3.Error as error:
            connection.close()
            raise _translated(error, path) from None
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        """Close the file and drop the keys from this object; closing twice is harmless."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._sealers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def epoch(self) -> int:
        """Epoch whose data key seals new records."""
        return self._epoch

    @property
    def sealer(self) -> Sealer:
        """The sealer of new records."""
        if self._connection is None:
            raise StoreClosed("the store was closed")
        return self._sealers[self._epoch]

    def unseal(self, kind: str, sequence: int, epoch: int, sealed: bytes) -> bytes:
        """Open a record of any epoch whose key is still there.

        Raises:
            StoreDamaged: if the record was altered or moved, or its key is gone.
        """
        sealer = self._sealers.get(epoch)
        if sealer is None:
            raise StoreDamaged(f"a record of kind {kind!r} belongs to an erased epoch")
        return sealer.open(kind, sequence, sealed)

    def power_safe(self) -> AbstractContextManager[sqlite3.Connection]:
        """Run one transaction that is on the disk when this returns."""
        return self._transaction("FULL")

    def kill_safe(self) -> AbstractContextManager[sqlite3.Connection]:
        """Run one transaction that no kill of this process can undo once this returns.

        A weaker guarantee than `power_safe`: see the module's docstring.
        """
        return self._transaction("NORMAL")

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Read a consistent state."""
        with self._lock:
            connection = self._require()
            try:
                yield connection
            except sqlite3.Error as error:
                raise _translated(error, self.path) from None

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database, cut it to zero length and sync."""
        with self.reading() as connection:
            connection.execute("PRAGMA synchronous=FULL")
            self._synchronous = "FULL"
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise StoreUnavailable(f"{self.path}: the write-ahead log is in use")

    def set_meta(self, connection: sqlite3.Connection, name: str, value: int) -> None:
        """Write one of the plain numbers, inside a transaction of the caller's."""
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def meta(self, name: str) -> int | None:
        """Read one of the plain numbers."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
            return None if row is None else int(row[0])

    def end_erasure(self) -> None:
        """Cut the write-ahead log after an erasure, then drop the note that one is under way.

        Copies of the store that recoveries left are destroyed with it: they hold the erased keys.
        """
        self.checkpoint()
        destroy_copies(self.path)
        with self.power_safe() as connection:
            self.set_meta(connection, ERASING, 0)

    def new_data_key(
        self, keys: KeyProvider | None = None, index_key: bytes | None = None
    ) -> tuple[Sealer, bytes]:
        """Make the data key of the next epoch; returns its sealer and the wrapped key.

        Nothing uses it before it is in the table, and `switch_to` has been called.

        Args:
            keys: wraps it; None for what wrapped the ones before.
            index_key: carried over from this epoch; None for a new one.
        """
        epoch, key = self._epoch + 1, os.urandom(KEY_BYTES)
        wrapped = (self._keys if keys is None else keys).wrap(key, _KEY_PURPOSE % epoch)
        return Sealer(key, epoch, index_key), wrapped

    def switch_to(self, sealer: Sealer, keys: KeyProvider | None = None) -> None:
        """Use a new data key, whose wrapped form is on the disk, and drop all others."""
        with self._lock:
            self._keys = self._keys if keys is None else keys
            self._sealers = {sealer.epoch: sealer}
            self._epoch = sealer.epoch

    @contextmanager
    def _transaction(self, synchronous: str) -> Generator[sqlite3.Connection]:
        with self._lock:
            connection = self._require()
            if self._depth:
                raise StoreUnavailable("a transaction is already open on this thread")
            self._depth = 1
            try:
                if synchronous != self._synchronous:
                    # Outside a transaction, where SQLite lets the level change.
                    connection.execute(f"PRAGMA synchronous={synchronous}")
                    self._synchronous = synchronous
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise _translated(error, self.path) from None
            finally:
                self._depth = 0

    def _require(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreClosed("the store was closed")
        return self._connection

    def _prepare(self) -> None:
        connection = self._require()
        # Before anything is written: a database of something else must stay as it is.
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        if tables and not {"meta", "data_keys", "facts"} <= tables:
            raise StoreDamaged(f"{self.path}: expected a device's store, got another database")
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA secure_delete=ON")
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailable(f"{self.path}: expected write-ahead logging, got {mode!r}")
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone():
            with self.power_safe():
                create_tables(connection)
                self.set_meta(connection, "format", FORMAT)
        found = self.meta("format")
        if found is None or found > FORMAT:
            raise StoreUnavailable(
                f"{self.path}: expected store format {FORMAT} or older, got {found}; "
                "a newer version of the app wrote it, open it with that"
            )
        if found < FORMAT:
            with self.power_safe():
                for statement in steps_from(found):
                    connection.execute(statement)
                self.set_meta(connection, "format", FORMAT)
        if self.meta(ERASING):
            # A kill came between the erasing transaction and the cutting of the log.
            self.end_erasure()
        rows = connection.execute("SELECT epoch, wrapped FROM data_keys").fetchall()
        if not rows:
            rows = [self._new_epoch(1)]
        for epoch, wrapped in rows:
            self._sealers[epoch] = self._sealer_of(epoch, wrapped)
        self._epoch = max(self._sealers)

    def _sealer_of(self, epoch: int, wrapped: bytes) -> Sealer:
        data_key = self._keys.unwrap(wrapped, _KEY_PURPOSE % epoch)
        sealer = Sealer(data_key, epoch)
        row = (
            self._require()
            .execute("SELECT sealed FROM index_keys WHERE epoch = ?", (epoch,))
            .fetchone()
        )
        if row is None:
            return sealer
        return Sealer(data_key, epoch, sealer.open(INDEX_KEY, 0, row[0]))

    def _new_epoch(self, epoch: int) -> tuple[int, bytes]:
        # The provider makes its own key durable before it wraps, so no crash point leaves a data
        # key on disk that nothing can unwrap.
        wrapped = self._keys.wrap(os.urandom(KEY_BYTES), _KEY_PURPOSE % epoch)
        with self.power_safe() as connection:
            connection.execute("INSERT INTO data_keys VALUES (?, ?)", (epoch, wrapped))
        return epoch, wrapped


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of `FORMAT`, inside a transaction of the caller's."""
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its side files the mode of the database, so it is made private first.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"cannot open the store {path}: {error.strerror}") from None
    return sqlite3.connect(
        path, timeout=_LOCK_WAIT_S, isolation_level=None, check_same_thread=False
    )


def _translated(error: sqlite3.Error, path: Path) -> StoreDamaged | StoreUnavailable:
    if isinstance(error, sqlite3.OperationalError):
        hint = ""
        if "locked" in str(error):
            hint = "; another process has it open"
        elif "full" in str(error) or "I/O" in str(error):
            hint = "; nothing of this was kept, free space on the disk and try again"
        return StoreUnavailable(f"{path}: {error}{hint}")
    hint = "; Personalizer.recover moves it aside and keeps what still opens"
    return StoreDamaged(f"{path}: {error}{hint}")
