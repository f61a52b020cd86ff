"""Group commit: transactions that come at once share one durable commit.

    turn     one caller's statements; alone on the connection, undone alone when it fails
    batch    the turns between one BEGIN and one COMMIT; durable together, or lost together

A turn never waits for company. While one batch is being made durable, the callers that arrive queue
up; they are the next batch. The last of a queue commits for all, so a lone caller pays for exactly
one commit and a thousand at once pay for a few. No caller returns before its batch is durable, and
a caller whose turn was refused learns that only then too, because the refusal may rest on what
another turn of the batch wrote.

Crash points: before the COMMIT returns, no turn of the batch happened and nobody was answered;
after it, all of them did, and replies may be lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection, RootTransaction

MAX_TURNS = 256
"""Most turns of a batch: bounds how long the first of them waits for the last."""

_SAVE, _KEEP, _UNDO = "SAVEPOINT turn", "RELEASE SAVEPOINT turn", "ROLLBACK TO SAVEPOINT turn"


class BatchObserver(Protocol):
    """Whoever keeps something in memory that follows from rows. Called with the batch locked."""

    def finish(self, connection: Connection) -> None:
        """Write what was put off until the end of the batch; a failure loses the batch."""
        ...

    def committed(self) -> None:
        """Take note that the batch is durable; nobody has been answered yet.

        What this raises, every caller of the batch gets, though its turn is durable.
        """
        ...

    def lost(self) -> None:
        """Take back everything since the last batch that was durable."""
        ...


@dataclass(slots=True)
class _Batch:
    transaction: RootTransaction
    turns: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class GroupCommit:
    """Run write transactions on one connection, one at a time, and commit them in batches."""

    def __init__(
        self,
        connection: Callable[[], Connection],
        verdict: Callable[[BaseException], BaseException | None],
    ) -> None:
        """Prepare; nothing is begun yet.

        Args:
            connection: returns the connection that writes; raises where nothing can be written.
            verdict: says of an exception whether the whole transaction is gone with it, and what
                all its callers are to be told then; None where only the turn failed.
        """
        self._connection = connection
        self._verdict = verdict
        self._lock = threading.Lock()  # whoever holds it has the connection
        self._counting = threading.Lock()
        self._waiting = 0
        self._open: _Batch | None = None
        self._observers: list[BatchObserver] = []

    def observe(self, observer: BatchObserver) -> None:
        """Tell an observer of every batch from now on."""
        self._observers.append(observer)

    @contextmanager
    def turn(self) -> Generator[Connection]:
        """Run the block as one transaction that may share its commit with others.

        Raises:
            Whatever the block raises, if nothing of it happened; or why the batch was lost.
        """
        refused: Exception | None = None
        with self._queued():
            try:
                connection = self._connection()
            except BaseException as error:
                if self._open is not None:  # its callers would wait for ever
                    self._lose(self._open, error)
                raise
            batch = self._open or self._begin(connection)
            try:
                first = batch.turns == 0
                if not first:
                    connection.exec_driver_sql(_SAVE)
                yield connection
                if not first:
                    connection.exec_driver_sql(_KEEP)
                batch.turns += 1
            except BaseException as error:
                lost = self._undo(connection, batch, error)
                if lost is not None and lost is not error:
                    raise lost from None
                if lost is not None or not isinstance(error, Exception) or not batch.turns:
                    raise
                refused = error
            finally:
                self._pass_on(connection)
        batch.done.wait()
        if batch.error is not None:
            raise batch.error
        if refused is not None:
            raise refused

    @contextmanager
    def alone(self) -> Generator[None]:
        """Run the block while no transaction is open and none can begin."""
        with self._lock:
            if self._open is not None:
                self._commit(self._connection(), self._open)
            yield

    @contextmanager
    def _queued(self) -> Generator[None]:
        with self._counting:
            self._waiting += 1
        self._lock.acquire()
        with self._counting:
            self._waiting -= 1
        try:
            yield
        finally:
            self._lock.release()

    def _begin(self, connection: Connection) -> _Batch:
        try:
            self._open = _Batch(connection.begin())
        except Exception as error:
            lost = self._verdict(error)
            if lost is None or lost is error:
                raise
            raise lost from None
        return self._open

    def _undo(
        self, connection: Connection, batch: _Batch, error: BaseException
    ) -> BaseException | None:
        """Undo the turn that failed; returns why the batch is lost, None if it goes on."""
        lost = self._verdict(error)
        if lost is None and batch.turns:
            try:
                connection.exec_driver_sql(_UNDO)
                connection.exec_driver_sql(_KEEP)
            except Exception as failed:  # noqa: BLE001 - the database gave up the whole transaction
                lost = self._verdict(failed) or failed
            else:
                return None
        self._lose(batch, lost or error)
        return lost

    def _pass_on(self, connection: Connection) -> None:
        """Leave the batch to the next in the queue, or commit where nobody follows."""
        batch = self._open
        if batch is None:
            return
        with self._counting:
            last = self._waiting == 0
        if last or batch.turns >= MAX_TURNS:
            self._commit(connection, batch)

    def _commit(self, connection: Connection, batch: _Batch) -> None:
        try:
            for observer in self._observers:
                observer.finish(connection)
            batch.transaction.commit()
        except BaseException as error:  # noqa: BLE001 - told to every caller
            self._lose(batch, self._verdict(error) or error)
            return
        self._open = None
        try:
            for observer in self._observers:
                observer.committed()
        except BaseException as error:  # noqa: BLE001 - told to every caller
            batch.error = error
        finally:
            batch.done.set()

    def _lose(self, batch: _Batch, error: BaseException) -> None:
        """Roll the batch back and tell everybody in it why."""
        self._open = None
        try:
            batch.transaction.rollback()
        except Exception as failed:  # noqa: BLE001 - what broke is told by the first error
            error.add_note(f"and the rollback failed: {type(failed).__name__}")
        try:
            if batch.turns:  # else the one whose turn failed has taken back what was its own
                for observer in self._observers:
                    observer.lost()
        finally:
            batch.error = error
            batch.done.set()
