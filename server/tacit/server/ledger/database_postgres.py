"""PostgreSQL: a database server of its own, written by one node at a time."""

from __future__ import annotations

import importlib
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from tacit.server.errors import BadConfig, DatabaseLost, StateCorrupt, TransactionConflict
from tacit.server.ledger.database import StateDirectory
from tacit.server.ledger.group_commit import BatchObserver, GroupCommit
from tacit.server.ledger.tables import create_tables

# Serialization failure and deadlock: the server says that nothing happened and to try again.
# https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
_TRY_AGAIN = ("40001", "40P01")
_NODE_LOCK = 0x7461_6369_745F_6C64  # "tacit_ld"; advisory locks are of one database
_CONNECT_TIMEOUT_S = "10"
# A plan made while a table was empty would be kept for good, and read whole accounts ever after.
_PLANS = "-c plan_cache_mode=force_custom_plan"
_LOCK_PATIENCE_S = 3.0
# None of them can carry a password, which must stay out of what is shown.
_OPTIONS = frozenset(
    {"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "passfile", "connect_timeout"}
)
_ERASABLE = (
    "subjects",
    "consent_events",
    "consent_states",
    "map_entries",
    "map_removals",
    "devices",
    "tokens",
    "erased_tasks",
)
"""Every table an erasure takes rows, or a device's name, from, or rewrites."""


class PostgresDatabase:
    """Hold one PostgreSQL database, which no other node may open for writing.

    One connection writes and holds a session-level advisory lock: a node that loses the connection
    has lost the lock, writes nothing more and must start again. Writes are SERIALIZABLE and
    durable (`synchronous_commit = on`) when their block is left. Reads are REPEATABLE READ and read
    only, on connections of their own: with a single writer every snapshot is a state between two of
    its transactions, so reads never make a write fail.
    """

    def __init__(self, address: str, state_dir: Path) -> None:
        """Connect, create what is missing, and take the lock.

        Args:
            address: `postgresql://user@host/name`; see `database_url`.
            state_dir: the node's directory for everything but the database.

        Raises:
            BadConfig: if the address is unusable, the driver missing, the server does not answer,
                or it is set up to lose what it confirmed.
            StateCorrupt: if another node holds the state directory or the database.
        """
        url = database_url(address)
        self._directory = StateDirectory(state_dir)
        self._group = GroupCommit(self._writing_connection, self._verdict)
        self._failure: str | None = None
        self._writer = _engine(url, "SERIALIZABLE", connections=1)
        self._readers = _engine(url, "REPEATABLE READ", connections=8)
        self._connection: Connection | None = None
        try:
            self._connection = self._writer.connect()
            self._prepare(self._connection)
        except DBAPIError as error:
            self.close()
            raise BadConfig(_one_line(url, error)) from None
        except BaseException:
            self.close()
            raise

    @property
    def failure(self) -> str | None:
        """Why nothing can be written any more."""
        return self._failure

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """Run one serialisable write transaction; see `Database.writing`."""
        with self._group.turn() as connection:
            yield connection

    def observe(self, observer: BatchObserver) -> None:
        """Tell an observer of every batch; see `Database.observe`."""
        self._group.observe(observer)

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """Run one read-only transaction on a consistent snapshot."""
        with self._readers.connect() as connection, connection.begin():
            yield connection

    def scrub(self) -> None:
        """Rewrite the erasable tables and their indexes without their dead rows.

        The server's write-ahead log, its archives and its backups keep the old ones until they are
        recycled; that is the operator's to arrange.
        """
        with self._group.alone(), self._writer_outside_transactions() as connection:
            for name in _ERASABLE:
                connection.exec_driver_sql(f"VACUUM (FULL) {name}")

    def close(self) -> None:
        """Close every connection, which frees the lock, and let go of the directory."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._writer.dispose()
        self._readers.dispose()
        self._directory.close()

    def _writing_connection(self) -> Connection:
        if self._connection is None or self._failure is not None:
            raise DatabaseLost(self._failure or "the database is closed")
        return self._connection

    def _verdict(self, error: BaseException) -> BaseException | None:
        """Say what an error means for everybody in the transaction; None: for its caller alone."""
        if not isinstance(error, DBAPIError):
            return None
        if getattr(error.orig, "sqlstate", None) in _TRY_AGAIN:
            return TransactionConflict("the database asks to try again")
        if not error.connection_invalidated:
            return None
        # Never reconnect: the lock went with the connection, and the tree in memory may now be
        # behind a commit whose confirmation was lost.
        self._failure = "the connection to the database was lost; start the node again"
        return DatabaseLost(self._failure)

    def _prepare(self, connection: Connection) -> None:
        with connection.begin():
            settings = {
                name: connection.execute(text(f"SHOW {name}")).scalar_one()
                for name in ("fsync", "synchronous_commit", "server_encoding")
            }
        self._take_lock(connection)
        wanted = {"fsync": "on", "synchronous_commit": "on", "server_encoding": "UTF8"}
        for name, value in wanted.items():
            if settings[name] != value:
                raise BadConfig(f"database: expected {name} {value!r}, got {settings[name]!r}")
        with connection.begin():
            create_tables(connection)

    def _take_lock(self, connection: Connection) -> None:
        # A server notices only after a moment that the node before this one is gone.
        deadline_s = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            with connection.begin():
                locked = connection.execute(
                    text("SELECT pg_try_advisory_lock(:key)"), {"key": _NODE_LOCK}
                ).scalar_one()
            if locked:
                return
            if time.monotonic() > deadline_s:
                raise StateCorrupt("another ledger node holds the database; only one may write it")
            time.sleep(0.05)

    @contextmanager
    def _writer_outside_transactions(self) -> Generator[Connection]:
        # VACUUM runs in no transaction. A reader's connection does, as writes are locked out.
        with self._readers.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def reading_postgres(address: str) -> Generator[Connection]:
    """Read a database, whether or not a node holds it, in one read-only transaction.

    Raises:
        BadConfig: as `PostgresDatabase`, without the lock.
    """
    url = database_url(address)
    engine = _engine(url, "REPEATABLE READ", connections=1)
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    except DBAPIError as error:
        raise BadConfig(_one_line(url, error)) from None
    finally:
        engine.dispose()


def database_url(address: str) -> URL:
    """Parse `postgresql://user@host/name`, with connection options as a query.

    A password may stand in it, but is better left to libpq (`PGPASSWORD`, `passfile`); it is never
    shown.

    Raises:
        BadConfig: if it is of another form or names an unknown option.
    """
    expected = "database: expected postgresql://user@host/name"
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise BadConfig(expected) from None
    if url.drivername not in ("postgresql", "postgres") or not url.database:
        raise BadConfig(expected)
    if unknown := sorted(set(url.query) - _OPTIONS):
        raise BadConfig(f"database: unknown option {unknown[0]!r}")
    return url.set(drivername="postgresql+psycopg")


def _engine(url: URL, isolation_level: str, connections: int) -> Engine:
    try:
        importlib.import_module("psycopg")
    except ImportError:
        raise BadConfig(
            "database: PostgreSQL needs the psycopg driver; install 'tacit[postgres]'"
        ) from None
    writes = isolation_level == "SERIALIZABLE"
    arguments: Mapping[str, str] = (
        {"connect_timeout": _CONNECT_TIMEOUT_S}
        | {name: str(value) for name, value in url.query.items() if name == "connect_timeout"}
        | {
            "application_name": "tacit-ledger",
            "options": f"-c synchronous_commit=on {_PLANS}"
            + ("" if writes else " -c default_transaction_read_only=on"),
        }
    )
    try:
        return create_engine(
            url,
            isolation_level=isolation_level,
            connect_args=dict(arguments),
            pool_size=connections,
            max_overflow=0 if writes else 24,
            hide_parameters=True,
        )
    except (SQLAlchemyError, ValueError):
        raise BadConfig("database: expected postgresql://user@host/name") from None


def _one_line(url: URL, error: DBAPIError) -> str:
    """Say what went wrong without any part of the address that could be secret."""
    reason = " ".join(str(error.orig).split()) or type(error.orig).__name__
    for secret in filter(None, (url.password,)):
        reason = reason.replace(str(secret), "***")
    return f"database {url.database} on {url.host or 'this machine'}: {reason}"
