"""The console's own database: people, links, sessions, failed attempts, the access log.

Nothing of the ledger is kept in it but what is needed to notice a ledger that went back: its key
and its latest checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import DatabaseError

from tacit.server.errors import BadConfig, StateCorrupt

DATABASE_FILE = "console.sqlite"
_VERSION = 1
_BUSY_S = 10.0

metadata = MetaData()

# Owner: people.People. `password` is an argon2id hash; `sealed_key` an officer's key, see
# officer_keys.
people = Table(
    "people",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password", String(200), nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
# Owner: people.People. Links are stored hashed.
links = Table(
    "links",
    metadata,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("name", String(40), nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
)
# Owner: sessions.Sessions. Tokens are stored hashed.
sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("name", String(40), nullable=False),
    Column("started_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
)
# Owner: attempts.Attempts.
failures = Table(
    "failures",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", String(40), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
# Owner: access_log.AccessLog. Append-only.
access_log = Table(
    "access_log",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
# Owner: remembered.Remembered: the ledger's key and its latest verified checkpoints.
remembered = Table(
    "remembered",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


class Database:
    """A SQLite file, readable by its owner alone. Thread-safe; several processes may use it."""

    def __init__(self, directory: Path) -> None:
        """Open the database in a directory, making both where they are missing.

        Raises:
            BadConfig: The directory cannot be used.
            StateCorrupt: The file is something else, or of another version.
        """
        file = directory / DATABASE_FILE
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as error:
            raise BadConfig(f"{directory}: cannot be used ({error.strerror})") from None
        self._engine = create_engine(
            f"sqlite:///{file.resolve()}", connect_args={"timeout": _BUSY_S}
        )
        event.listen(self._engine, "connect", _on_connect)
        event.listen(self._engine, "begin", _on_begin)
        try:
            with self.writing() as connection:
                version = int(connection.execute(text("PRAGMA user_version")).scalar_one())
                tables = connection.execute(text("SELECT COUNT(*) FROM sqlite_schema"))
                if version not in (0, _VERSION) or (version == 0 and tables.scalar_one()):
                    raise StateCorrupt(f"{file}: expected a console's database, version {_VERSION}")
                metadata.create_all(connection)
                connection.execute(text(f"PRAGMA user_version = {_VERSION}"))
        except DatabaseError:
            raise StateCorrupt(f"{file}: expected a console's database") from None

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """Open one transaction; it holds the file's write lock from its start."""
        with self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin as `_on_begin` says, not at first write
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
