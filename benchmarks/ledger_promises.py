"""Withdrawals that race with admission, and an erasure searched for remnants."""

from __future__ import annotations

import functools
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger_appends import Signed, Storage, chain
from sqlalchemy import select

from tacit.privacy.erasure import ErasureRequest
from tacit.privacy.merkle import leaf_hash, verify_inclusion
from tacit.privacy.signatures import SigningKey
from tacit.server.ledger.admission import admission_states
from tacit.server.ledger.tables import consent_events, subjects

_ROUND = 64


def now_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Races:
    """Withdrawals against askers.

    Attributes:
        races: withdrawals.
        questions: how often admission was asked meanwhile.
        both_sides: questions about a device in its race that found it admitted, and that did not.
        late: grants answered to a question put after the withdrawal's receipt was returned.
    """

    races: int
    questions: int
    both_sides: tuple[int, int]
    late: int


class _Round:
    """Devices that withdraw while others ask; question and receipt are ordered by one counter."""

    def __init__(self, storage: Storage, pairs: Sequence[list[Signed]]) -> None:
        self.storage, self.pairs = storage, pairs
        self.tick = itertools.count().__next__
        self.recorded = dict.fromkeys((pair[0].device for pair in pairs), float("inf"))
        self.left = len(pairs)
        self.lock = threading.Lock()
        self.questions, self.admitted, self.refused, self.late = 0, 0, 0, 0

    def withdraw(self, mine: Sequence[list[Signed]]) -> None:
        """Withdraw one after the other."""
        for pair in mine:
            self.storage.append(pair[1])
            self.recorded[pair[1].device] = self.tick()
            with self.lock:
                self.left -= 1

    def ask(self, seed: int) -> None:
        """Ask about some devices at a time until all have withdrawn, and once after."""
        pick, names = random.Random(seed), list(self.recorded)
        last = False
        while not last:
            last = self.left == 0
            some = names if last else pick.sample(names, 8)
            asked = self.tick()
            for one in admission_states(self.storage.database, "learn", some, now_ms()):
                with self.lock:
                    self.questions += 1
                    self.admitted += bool(one.signals)
                    self.refused += not one.signals
                    self.late += bool(one.signals) and asked > self.recorded[one.device_id]


def race(storage: Storage, count: int, progress: Callable[[str], None]) -> Races:
    """Let at least `count` devices withdraw, each while it is being asked about."""
    done = questions = admitted = refused = late = 0
    while done < count:
        if done % (_ROUND * 16) == 0:
            progress(f"withdrawals: {done:,} of {count:,}")
        keys = [SigningKey.generate(os.urandom) for _ in range(_ROUND)]
        storage.enrol(keys)
        pairs = [chain(key, 2) for key in keys]
        _together([functools.partial(_grant, storage, some) for some in _split(pairs, 16)])
        this = _Round(storage, pairs)
        _together(
            [functools.partial(this.withdraw, some) for some in _split(pairs, 16)]
            + [functools.partial(this.ask, seed) for seed in range(done, done + 4)]
        )
        done += _ROUND
        questions, late = questions + this.questions, late + this.late
        admitted, refused = admitted + this.admitted, refused + this.refused
    return Races(done, questions, (admitted, refused), late)


def _grant(storage: Storage, pairs: Sequence[list[Signed]]) -> None:
    for pair in pairs:
        storage.append(pair[0])


def _split(pairs: Sequence[list[Signed]], parts: int) -> list[Sequence[list[Signed]]]:
    return [pairs[n::parts] for n in range(parts)]


def _together(jobs: Sequence[Callable[[], object]]) -> None:
    failed: list[BaseException] = []

    def run(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            failed.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if failed:
        raise failed[0]


@dataclass(frozen=True, slots=True)
class ErasureCosts:
    """An erasure among many devices.

    Attributes:
        worst_s: longest of several.
        erasures: how many.
        needles: secrets and names looked for (keys, sealed events, device id, text of the event).
        found_before: how many of those lay in the files before: the search has power.
        found_after: how many lie there after.
        roots_unchanged: the roots so far, and everybody else's proofs, are as they were.
    """

    worst_s: float
    erasures: int
    needles: int
    found_before: int
    found_after: int
    roots_unchanged: bool


def erase(storage: Storage, files: Callable[[], list[bytes]], erasures: int = 8) -> ErasureCosts:
    """Erase devices and look for what is left of them in the database's files."""
    keys = [SigningKey.generate(os.urandom) for _ in range(erasures + 1)]
    storage.enrol(keys)
    marker = f"https://marker.example/{os.urandom(8).hex()}"
    witness = chain(keys[-1], 1)[0]
    storage.append(witness)
    for key in keys[:-1]:
        for one in chain(key, 3, withdrawal_uri=marker):
            storage.append(one)
    needles = [*_needles(storage, keys[:-1]), marker.encode()]
    log = storage.logs.consent
    size, root = log.size, log.root(log.size)
    before, took_s = files(), list[float]()
    for key in keys[:-1]:
        request = ErasureRequest(os.urandom(16).hex(), key.key_id, now_ms(), ()).to_bytes()
        signature = key.sign(ErasureRequest.SIGNING_CONTEXT, request)
        began_s = time.perf_counter()
        storage.erasure.erase(key.key_id, key.public_key, request, signature, 0, now_ms())
        took_s.append(time.perf_counter() - began_s)
    after = files()
    with storage.database.reading() as connection:
        data = log.entries(connection, 0, size)
    position = size - 3 * erasures - 1
    proof = log.proof(position, 0)
    verify_inclusion(
        leaf_hash(data[position]), position, log.size, proof.inclusion, log.root(log.size)
    )
    return ErasureCosts(
        worst_s=max(took_s),
        erasures=erasures,
        needles=len(needles),
        found_before=_found(needles, before),
        found_after=_found(needles, after),
        roots_unchanged=log.root(size) == root,
    )


def _found(needles: Sequence[bytes], files: Sequence[bytes]) -> int:
    return sum(any(needle in one for one in files) for needle in needles)


def _needles(storage: Storage, keys: Sequence[SigningKey]) -> list[bytes]:
    names = [key.key_id for key in keys]
    found = [one.encode() for one in names] + [key.public_key for key in keys]
    with storage.database.reading() as connection:
        for query in (
            select(subjects.c.key).where(subjects.c.device_id.in_(names)),
            select(consent_events.c.sealed).where(consent_events.c.device_id.in_(names)),
        ):
            found += [bytes(one)[:48] for one in connection.execute(query).scalars()]
    return found
