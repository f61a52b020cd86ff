"""Spends on a real ledger process: many workers against one cap, and `kill -9` while they work."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ledger_store import DELTA, Ledger, Z

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, round_up
from tacit.privacy.budget_documents import AccountDocument, ReserveDocument
from tacit.server.errors import Exhausted, LedgerUnavailable, Refused
from tacit.v1 import budget_pb2


@dataclass(frozen=True, slots=True)
class Spends:
    """What workers spent.

    Attributes:
        workers, attempts: how many tried how often in all.
        admitted: reservations the ledger let through.
        most: how many the cap has room for.
        spent, cap: ε.
    """

    workers: int
    attempts: int
    admitted: int
    most: int
    spent: float
    cap: float


@dataclass(frozen=True, slots=True)
class Kills:
    """What was left after kills.

    Attributes:
        kills: how often the process was killed while workers spent.
        answered: spends answered before the kills, reserved or committed.
        lost: of these, how many were not there afterwards.
        spent_at_least_released: whether ε spent covered the ε of all commits after every kill.
    """

    kills: int
    answered: int
    lost: int
    spent_at_least_released: bool


def _documents(ledger: Ledger, count: int) -> list[ReserveDocument]:
    made: list[ReserveDocument] = []
    with ledger.client("coordinator") as publisher:
        while len(made) < count:
            made += ledger.publish(publisher, len(made))
    return made[:count]


def _work_together(workers: int, work: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if failed:
        raise failed[0]


class _Shared:
    """Hands each document to one worker."""

    def __init__(self, documents: list[ReserveDocument]) -> None:
        self._left, self._lock = iter(documents), threading.Lock()

    def __iter__(self) -> Iterator[ReserveDocument]:
        return self

    def __next__(self) -> ReserveDocument:
        with self._lock:
            return next(self._left)


def overspend(home: Path, database: str, workers: int, attempts: int) -> Spends:
    """Let workers attempt more than the cap admits."""
    most = attempts * 3 // 4
    # Room for a task of 200 rounds, or none could be published.
    most = max(most, 201)
    attempts = max(attempts, most + 50)
    cap = round_up(epsilon_bound([GaussianEvent(Z, most)], DELTA))
    ledger = Ledger(home, database)
    try:
        with ledger.client("operator") as operator:
            account = AccountDocument("main", "shop", cap, DELTA, {"learn": cap})
            operator.append_governance("account", account.to_json())
        shared, admitted, lock = _Shared(_documents(ledger, attempts)), [0], threading.Lock()

        def work() -> None:
            with ledger.client("coordinator") as client:
                for document in shared:
                    try:
                        client.reserve(document)
                    except Exhausted:
                        continue
                    with lock:
                        admitted[0] += 1

        _work_together(workers, work)
        with ledger.client("coordinator") as client:
            shown = client.show_budget("main")
        if len(shown.reservations) != admitted[0]:
            raise RuntimeError("the ledger holds other reservations than it admitted")
        return Spends(workers, attempts, admitted[0], most, float(shown.epsilon_spent), cap)
    finally:
        ledger.process.terminate()
        ledger.process.wait()


def kill(
    home: Path, database: str, kills: int, workers: int, progress: Callable[[str], None]
) -> Kills:
    """Kill the process again and again while workers reserve and commit."""
    ledger = Ledger(home, database)
    answered: dict[str, bool] = {}
    lost, covered, pick = 0, True, random.Random(os.urandom(8))
    try:
        with ledger.client("operator") as operator:
            account = AccountDocument("main", "shop", 50.0, DELTA, {"learn": 50.0})
            operator.append_governance("account", account.to_json())
        shared = _Shared(_documents(ledger, 200 * (1 + kills // 3)))
        for number in range(kills):
            progress(f"kill -9: {number} of {kills}")
            _spend_until_killed(ledger, shared, workers, answered, pick.uniform(0.3, 1.0))
            ledger.start()
            with ledger.client("coordinator") as client:
                shown = client.show_budget("main")
            states = {one.reservation_id: one.state for one in shown.reservations}
            committed = [
                name
                for name, state in states.items()
                if state == budget_pb2.RESERVATION_STATE_COMMITTED
            ]
            lost = sum(
                name not in states or (done and name not in committed)
                for name, done in answered.items()
            )
            released = epsilon_bound([GaussianEvent(Z, len(committed))], DELTA) if committed else 0
            covered &= float(shown.epsilon_spent) >= released
            if lost:
                break
        return Kills(kills, len(answered), lost, covered)
    finally:
        ledger.process.terminate()
        ledger.process.wait()


def _spend_until_killed(
    ledger: Ledger, shared: _Shared, workers: int, answered: dict[str, bool], after_s: float
) -> None:
    def work() -> None:
        with ledger.client("coordinator") as client:
            client._patience_s = 0  # pyright: ignore[reportPrivateUsage]
            for document in shared:
                name = document.reservation_id
                try:
                    client.reserve(document)
                    answered[name] = False
                    client.commit("main", name, hashlib.sha256(name.encode()).hexdigest())
                    answered[name] = True
                except (LedgerUnavailable, Refused):
                    return

    killer = threading.Timer(after_s, lambda: ledger.process.send_signal(signal.SIGKILL))
    killer.start()
    _work_together(workers, work)
    killer.join()
    ledger.process.wait()
    time.sleep(0.01)
