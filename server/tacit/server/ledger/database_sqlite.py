"""SQLite: the embedded default, one file in the node's state directory."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from tacit.server.errors import StateCorrupt
from tacit.server.ledger.database import DATABASE_FILE, StateDirectory
from tacit.server.ledger.group_commit import BatchObserver, GroupCommit
from tacit.server.ledger.tables import create_tables


class _RawConnection(Protocol):
    """What of a driver's connection is used here."""

    isolation_level: str | None

    def execute(self, statement: str) -> Iterable[tuple[int, int, int]]: ...


class SqliteDatabase:
    """Hold the database file of one state directory, which no other process may open for writing.

    Each write transaction is on disk (`synchronous=FULL`) when its block is left; those that come
    at once share one that begins IMMEDIATE, and its one fsync. Reads run beside it on their own
    connections (write-ahead log).
    """

    failure: str | None = None

    def __init__(self, state_dir: Path) -> None:
        """Open or create the database.

        Raises:
            StateCorrupt: if the file is no such database, or another process holds it.
        """
        self._directory = StateDirectory(state_dir)
        self._group = GroupCommit(lambda: self._connection, lambda _: None)
        path = state_dir / DATABASE_FILE
        self._writer = _engine(path, "BEGIN IMMEDIATE", connections=1)
        self._readers = _engine(path, "BEGIN", connections=8)
        try:
            self._connection = self._writer.connect()
            with self._connection.begin():
                create_tables(self._connection)
            path.chmod(0o600)
        except DatabaseError:
            self.close()
            raise StateCorrupt(f"{DATABASE_FILE} is not a readable ledger database") from None
        except BaseException:
            self.close()
            raise

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """Run one write transaction; commit on success, roll back on any exception."""
        with self._group.turn() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """Run one read transaction on a consistent snapshot."""
        with self._readers.connect() as connection, connection.begin():
            yield connection

    def observe(self, observer: BatchObserver) -> None:
        """Tell an observer of every batch; see `Database.observe`."""
        self._group.observe(observer)

    def scrub(self) -> None:
        """Fold the write-ahead log into the database and empty it, so that it keeps no old pages.

        Deleted rows are overwritten as they go (`secure_delete`).

        Raises:
            StateCorrupt: if a reader held it open for the whole busy timeout.
        """
        with self._group.alone(), self._readers.connect() as connection:
            raw = cast(_RawConnection, connection.connection.driver_connection)
            ((busy, _, _),) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise StateCorrupt("the write-ahead log could not be emptied: a reader holds it")

    def close(self) -> None:
        """Close every connection and let go of the directory."""
        if hasattr(self, "_connection"):
            self._connection.close()
        self._writer.dispose()
        self._readers.dispose()
        self._directory.close()


def _engine(path: Path, begin: str, connections: int) -> Engine:
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        connect_args={"check_same_thread": False, "timeout": 30},
        pool_size=connections,
        max_overflow=0 if connections == 1 else 24,
    )

    def configure(connection: object, _record: object) -> None:
        raw = cast(_RawConnection, connection)
        raw.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "busy_timeout=30000",
        ):
            raw.execute(f"PRAGMA {pragma}")

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", start)
    return engine
