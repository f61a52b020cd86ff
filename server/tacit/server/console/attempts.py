"""Wrong passwords, counted: after a few nobody gets in under that name for a while."""

from __future__ import annotations

from sqlalchemy import delete, func, insert, select

from tacit.server.console.database import Database, failures
from tacit.server.console.errors import TooManyAttempts
from tacit.server.console.steady_clock import SteadyClock

WINDOW_MS = 15 * 60_000
MAX_OF_A_NAME = 5
MAX_OF_ALL = 100


class Attempts:
    """Count failed attempts by name, on disk: a restart forgives none. Thread-safe.

    An attempt is counted before the password is looked at and taken back where it was right, so
    parallel guesses do not slip through. Names nobody has are counted alike: a refusal does not
    tell which exist. Who may reach the console can so lock a name out for a quarter of an hour.
    """

    def __init__(self, database: Database, clock: SteadyClock) -> None:
        self._database = database
        self._clock = clock

    def begin(self, name: str) -> int:
        """Count an attempt; returns its number, for `forgive`.

        Raises:
            TooManyAttempts: There were too many of this name, or of all together.
        """
        now_ms = self._clock.now_ms()
        with self._database.writing() as connection:
            connection.execute(delete(failures).where(failures.c.at_ms <= now_ms - WINDOW_MS))
            count = select(func.count()).select_from(failures)
            mine = connection.execute(count.where(failures.c.name == name)).scalar_one()
            if mine >= MAX_OF_A_NAME or connection.execute(count).scalar_one() >= MAX_OF_ALL:
                raise TooManyAttempts("too many wrong passwords; try again in 15 minutes")
            added = connection.execute(insert(failures), {"name": name, "at_ms": now_ms})
            return int(added.inserted_primary_key[0]) if added.inserted_primary_key else 0

    def forgive(self, number: int) -> None:
        """Take back an attempt that was right."""
        with self._database.writing() as connection:
            connection.execute(delete(failures).where(failures.c.number == number))
