"""What the console remembers of a ledger, so that it notices another one or an older state."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from tacit.server.console.database import Database, remembered

_KEY = "ledger_key"


class Remembered:
    """The ledger's key as first seen, and the newest checkpoints that verified. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def key(self, seen: bytes) -> bytes:
        """Return the key that was seen first, which is this one where none was."""
        with self._database.writing() as connection:
            found = connection.execute(
                select(remembered.c.value).where(remembered.c.name == _KEY)
            ).scalar_one_or_none()
            if found is None:
                connection.execute(insert(remembered), {"name": _KEY, "value": seen})
            return seen if found is None else bytes(found)

    def checkpoints(self) -> tuple[bytes, ...]:
        """Return the signed checkpoints kept, at most one of each log."""
        with self._database.writing() as connection:
            rows = connection.execute(
                select(remembered.c.value).where(remembered.c.name != _KEY)
            ).scalars()
            return tuple(bytes(one) for one in rows)

    def keep(self, log: str, note: bytes) -> None:
        """Keep a log's newest checkpoint; call it only with one that verified."""
        with self._database.writing() as connection:
            connection.execute(delete(remembered).where(remembered.c.name == log))
            connection.execute(insert(remembered), {"name": log, "value": note})
