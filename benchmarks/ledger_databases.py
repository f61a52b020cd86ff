"""New, empty databases of either kind on this disk, and what their files weigh and hold."""

from __future__ import annotations

import itertools
import os
import signal
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tacit.server.ledger.database import Database
from tacit.server.ledger.database_postgres import PostgresDatabase
from tacit.server.ledger.database_sqlite import SqliteDatabase

KINDS = ("sqlite", "postgres")


class Databases:
    """Make databases of one kind in one folder."""

    def __init__(self, home: Path, kind: str) -> None:
        self.home, self.kind = home, kind
        self._numbers = itertools.count()
        self._server: Any = None
        if kind == "postgres":
            os.environ.setdefault("XDG_RUNTIME_DIR", str(home))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wheel: Any = __import__("pgserver")
            self._server = wheel.get_server(home / "data", cleanup_mode="stop")

    def new(self) -> tuple[Path, str]:
        """Return a folder that does not exist, and the address of an empty database or ''."""
        number = next(self._numbers)
        folder = self.home / f"{self.kind}-{number}"
        if self._server is None:
            return folder, ""
        self._execute(f"CREATE DATABASE bench_{number}")
        return folder, self._address(f"bench_{number}")

    @contextmanager
    def open(self) -> Generator[tuple[Database, Path, str]]:
        """Open a new database in this process; yields it, its folder and its address."""
        folder, address = self.new()
        database: Database = (
            PostgresDatabase(address, folder) if address else SqliteDatabase(folder)
        )
        try:
            yield database, folder, address
        finally:
            database.close()

    def size_bytes(self, folder: Path, address: str) -> int:
        """Return what the database's rows and indexes take; its own log is not among them."""
        if not address:
            return (folder / "ledger.sqlite").stat().st_size
        name = address.partition("@/")[2].partition("?")[0]
        return int(self._execute(f"SELECT pg_database_size('{name}')")[0][0])

    def files(self, folder: Path, address: str) -> list[bytes]:
        """Return SQLite's file and write-ahead log, or the files of PostgreSQL's tables."""
        if not address:
            return [path.read_bytes() for path in folder.glob("ledger.sqlite*")]
        self._execute("CHECKPOINT", address)
        ((oid,),) = self._execute(
            "SELECT oid FROM pg_database WHERE datname = current_database()", address
        )
        return [one.read_bytes() for one in (self.home / "data" / "base" / str(oid)).iterdir()]

    def close(self) -> None:
        """Stop the server at once: nothing of it is used again."""
        if self._server is not None:
            postmaster = psutil.Process(self._server.get_pid())
            postmaster.send_signal(signal.SIGQUIT)
            postmaster.wait(30)
            self._server.cleanup()

    def _address(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.home / 'data'}"

    def _execute(self, statement: str, address: str = "") -> list[Any]:
        driver: Any = __import__("psycopg")
        with driver.connect(address or self._address("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
