"""Keep what a log publishes cosigned: ask the witnesses when somebody needs a newer checkpoint."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from tacit.server.errors import LogRolledBack, WitnessUnavailable
from tacit.server.witness.client import WitnessClient

logger = logging.getLogger("tacit.ledger")

REST_S = 10.0
"""How long a witness that did not answer is left alone; nobody waits for it meanwhile."""


class GrowingLog(Protocol):
    """What of a log is cosigned."""

    name: str

    def latest(self) -> tuple[bytes, int]:
        """Return the newest signed checkpoint that is durable, and its size."""
        ...

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the consistency proof between two sizes."""
        ...


@dataclass(slots=True)
class _Asked:
    """One witness, and until when it is left alone (seconds of the monotonic clock)."""

    client: WitnessClient
    rests_until_s: float = 0.0


class Cosigning:
    """Cosignatures of one log's checkpoints, got when they are needed.

    Whoever needs a proof says how large the tree must be. If the newest cosigned checkpoint covers
    it, that one serves; else all witnesses are asked at once about the newest checkpoint. Callers
    that arrive meanwhile wait, and mostly find themselves covered: under load, one round of asking
    serves many. A witness that fails costs its time-out once, then rests; what it did not cosign is
    published with fewer cosignatures, and it is for readers to demand their quorum.
    """

    def __init__(
        self,
        log: GrowingLog,
        witnesses: Sequence[WitnessClient],
        keep: Callable[[int, bytes], None],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nobody is asked yet.

        Args:
            log: what is cosigned.
            witnesses: who is asked.
            keep: called with size and cosigned note, to store it for whoever verifies later.
            monotonic_s: clock.
        """
        self._log = log
        self._keep = keep
        self._asked = [_Asked(client) for client in witnesses]
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._note, self._size, self._missing = b"", -1, len(self._asked)
        self._threads = ThreadPoolExecutor(
            max(1, len(self._asked)), thread_name_prefix=f"witness-{log.name}"
        )

    def published(self, at_least: int) -> tuple[bytes, int]:
        """Return a checkpoint of at least this size with the cosignatures there are.

        Returns:
            The note, and the tree's size in it.
        """
        with self._lock:
            awake = any(one.rests_until_s <= self._monotonic_s() for one in self._asked)
            if self._size < at_least or (self._missing and awake):
                self._ask()
            return self._note, self._size

    def check_not_rolled_back(self) -> None:
        """Ask every witness about the newest checkpoint, as a node does before it serves anybody.

        Raises:
            LogRolledBack: if one of them remembers another or a longer history: the stored state
                is older than what was shown. A witness that does not answer says nothing.
        """
        with self._lock:
            for error in self._ask():
                if isinstance(error, LogRolledBack):
                    raise error

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown()
        for one in self._asked:
            one.client.close()

    def _ask(self) -> list[WitnessUnavailable | LogRolledBack]:
        note, size = self._log.latest()
        now_s = self._monotonic_s()
        awake = [one for one in self._asked if one.rests_until_s <= now_s]

        def ask(one: _Asked) -> bytes | WitnessUnavailable | LogRolledBack:
            try:
                line = one.client.cosignature(
                    note, size, lambda old: self._log.consistency(old, size)
                )
            except (WitnessUnavailable, LogRolledBack) as error:
                one.rests_until_s = self._monotonic_s() + REST_S
                logger.warning("%s log: %s", self._log.name, error)
                return error
            return line.to_bytes()

        answers = list(self._threads.map(ask, awake))
        lines = [one for one in answers if isinstance(one, bytes)]
        self._note, self._size = note + b"".join(lines), size
        self._missing = len(self._asked) - len(lines)
        if lines:
            self._keep(size, self._note)
        return [one for one in answers if not isinstance(one, bytes)]
