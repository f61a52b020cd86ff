"""What the ledger asks of a database, whichever it is: one writer, many readers, durable commits.

    Database (protocol)
    ├── SqliteDatabase     database_sqlite.py     the default: one file in the state directory
    └── PostgresDatabase   database_postgres.py   a server of its own, for fleets

Both keep the node's promises alike, and both commit in groups by the same code (`group_commit`);
one suite of tests holds both to them.
"""

from __future__ import annotations

import fcntl
import functools
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

from tacit.server.errors import StateCorrupt, TransactionConflict
from tacit.server.ledger.group_commit import BatchObserver

DATABASE_FILE = "ledger.sqlite"
ATTEMPTS = 8
"""How often a transaction that lost against another one is tried in all."""

_FIRST_PAUSE_S = 0.005
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Database(Protocol):
    """One open database; no other node holds it while this object is open."""

    @property
    def failure(self) -> str | None:
        """Why nothing can be written any more, None while it can. The node then has to stop."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """Run one serialisable write transaction; commit on success, roll back on any exception.

        Write transactions run one at a time; those that come at once share one durable commit, and
        none of them returns before it. What is committed survives the crash of this process and of
        the machine. A thread that is inside one must not begin another.

        Raises:
            TransactionConflict: if it lost against another transaction; nothing of it happened.
            DatabaseLost: if the connection broke. Whether the commit took place is then unknown,
                so the node must start again from what is stored.
        """
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """Run one read transaction on a consistent snapshot of everything committed before it."""
        ...

    def observe(self, observer: BatchObserver) -> None:
        """Tell an observer of every durable commit, and of every one that failed, from now on."""
        ...

    def scrub(self) -> None:
        """Remove from the database's own files, as far as it can, what rows no longer hold."""
        ...

    def close(self) -> None:
        """Close every connection and let go of the lock."""
        ...


class StateDirectory:
    """A state directory that this process alone may use, until it is closed or dies."""

    def __init__(self, path: Path) -> None:
        """Create the directory if need be and lock it.

        Raises:
            StateCorrupt: if another process holds it.
        """
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_file)
            raise StateCorrupt("another process holds the ledger's state directory") from None

    def close(self) -> None:
        """Let go of the directory; repeating it changes nothing."""
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1


def retried(
    transaction: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Run a transaction again when it lost against another one; the one place that does so.

    The whole function is run again, so whatever it decides it decides on what is stored then. It
    must therefore change nothing outside its transaction.

    Raises:
        TransactionConflict: if every attempt lost; callers over the wire see UNAVAILABLE, which
            they try again, too.
    """

    @functools.wraps(transaction)
    def run(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        for attempt in range(ATTEMPTS - 1):
            try:
                return transaction(*arguments, **named)
            except TransactionConflict:
                # Spread out, or the same two meet again.
                time.sleep(_FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))
        return transaction(*arguments, **named)

    return run
