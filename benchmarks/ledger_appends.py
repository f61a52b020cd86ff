"""Consent events appended to a ledger's storage: what a durable append costs alone and in company.

The store is the node's own (`ConsentStore` over `Logs` over a real database on this disk), called
in this process: signature check, chain, sealing, leaf, checkpoint, map entry, proof,
durable commit. Wire and TLS are left out; `ledger_store.py` has them in.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import insert

from tacit.privacy.consent import NO_PREDECESSOR, ConsentEvent, NoticeShown, event_digest
from tacit.privacy.signatures import SigningKey
from tacit.server.ledger.consent import ConsentStore
from tacit.server.ledger.database import Database
from tacit.server.ledger.erasure import ErasureStore
from tacit.server.ledger.log import Logs
from tacit.server.ledger.tables import devices

ORIGINS = {"governance": "bench.example/governance", "consent": "bench.example/consent"}
_DAY_MS = 86_400_000
_NOTICE_SHA256 = os.urandom(32).hex()


@dataclass(frozen=True, slots=True)
class Signed:
    """One event, ready to be sent."""

    device: str
    public_key: bytes
    event: bytes
    signature: bytes


class Storage:
    """A ledger's stores on a new database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.key = SigningKey.generate(os.urandom)
        self.logs = Logs(database, ORIGINS, self.key)
        self.consent = ConsentStore(self.logs, self.key, os.urandom)
        self.erasure = ErasureStore(self.logs, self.key, os.urandom, lambda _: None)

    def enrol(self, keys: Sequence[SigningKey]) -> None:
        """Make devices known."""
        rows = [
            {
                "device_id": key.key_id,
                "public_key": key.public_key,
                "population": "bench",
                "enrolled_at_ms": 0,
            }
            for key in keys
        ]
        with self.database.writing() as connection:
            connection.execute(insert(devices), rows)

    def append(self, one: Signed) -> bytes:
        """Append an event; returns its commitment key once it is durable and proved."""
        now_ms = time.time_ns() // 1_000_000
        commitment_key, _ = self.consent.append(
            one.device, one.public_key, one.event, one.signature, 0, now_ms
        )
        return commitment_key


def chain(
    key: SigningKey, length: int, withdrawal_uri: str = "https://shop.example/privacy"
) -> list[Signed]:
    """Sign a device's first events: a grant, its withdrawal, and so on."""
    now_ms = time.time_ns() // 1_000_000
    first = ConsentEvent(
        record_id="", subject_pseudonym=os.urandom(8).hex(), controller="Beispiel Handels GmbH",
        purpose="learn",
        signals=("product_view", "rating"), lawful_basis="consent",
        notice=NoticeShown("terms", "7", _NOTICE_SHA256, "de", now_ms), method="settings",
        state="given", event_time_ms=now_ms, valid_until_ms=now_ms + _DAY_MS, retention_days=365,
        storage_location="DE", recipients=(), jurisdiction="DE", withdrawal_uri=withdrawal_uri,
        gpc_present=False, gpc_conflict=False, prev_commitment=NO_PREDECESSOR, seq=1,
    )  # fmt: skip
    made: list[Signed] = []
    before = NO_PREDECESSOR
    for number in range(1, length + 1):
        event = dataclasses.replace(
            first,
            record_id=os.urandom(16).hex(),
            state="given" if number % 2 else "withdrawn",
            prev_commitment=before,
            seq=number,
        )
        data = event.to_bytes()
        before = event_digest(data)
        signature = key.sign(ConsentEvent.SIGNING_CONTEXT, data)
        made.append(Signed(key.key_id, key.public_key, data, signature))
    return made


@dataclass(frozen=True, slots=True)
class AppendCosts:
    """What appends cost.

    Attributes:
        batched_per_s: durable appends a second by many callers.
        callers: how many those were.
        cpu_us: CPU time of each, of all threads.
        alone_p50_ms, alone_p99_ms: of a single caller.
        fsync_p50_ms, fsync_p99_ms: of a 4 KiB write and fsync on the same disk, in turn with them.
        bytes_per_entry: growth of the database over all appends, rows of devices' chains included,
            divided by them.
    """

    batched_per_s: float
    callers: int
    cpu_us: float
    alone_p50_ms: float
    alone_p99_ms: float
    fsync_p50_ms: float
    fsync_p99_ms: float
    bytes_per_entry: float


def measure_appends(
    database: Database,
    size_bytes: Callable[[], int],
    count: int,
    callers: int,
    progress: Callable[[str], None],
) -> AppendCosts:
    """Append `count` events by `callers` threads, three of each device, and some by one alone."""
    progress(f"signing {count} events")
    keys = [SigningKey.generate(os.urandom) for _ in range(count // 3)]
    singles = max(200, count // 20)
    # Each device's events in their order, far apart: first of all devices, then of all again.
    events = [one for some in zip(*(chain(key, 3) for key in keys), strict=True) for one in some]
    storage = Storage(database)
    storage.enrol(keys)
    alone, many = events[:singles], events[singles:]
    database.scrub()
    before = size_bytes()
    progress(f"{len(alone)} appends by one caller")
    took_s, synced_s = list[float](), list[float]()
    with tempfile.TemporaryFile() as file:
        for one in alone:
            began_s = time.perf_counter()
            storage.append(one)
            took_s.append(time.perf_counter() - began_s)
            began_s = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            synced_s.append(time.perf_counter() - began_s)
    progress(f"{len(many)} appends by {callers} callers")
    used_s = time.process_time()
    elapsed_s = _run(storage, many, callers)
    used_s = time.process_time() - used_s
    database.scrub()
    return AppendCosts(
        batched_per_s=len(many) / elapsed_s,
        callers=callers,
        cpu_us=used_s / len(many) * 1e6,
        alone_p50_ms=_quantile_ms(took_s, 50),
        alone_p99_ms=_quantile_ms(took_s, 99),
        fsync_p50_ms=_quantile_ms(synced_s, 50),
        fsync_p99_ms=_quantile_ms(synced_s, 99),
        bytes_per_entry=(size_bytes() - before) / len(events),
    )


def _quantile_ms(taken_s: Sequence[float], percent: int) -> float:
    return statistics.quantiles(taken_s, n=100)[percent - 1] * 1e3


def _run(storage: Storage, events: Sequence[Signed], callers: int) -> float:
    shared, lock, failed = iter(events), threading.Lock(), list[BaseException]()

    def work() -> None:
        while True:
            with lock:
                one = next(shared, None)
            if one is None:
                return
            try:
                storage.append(one)
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                failed.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(callers)]
    began_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed_s = time.perf_counter() - began_s
    if failed:
        raise failed[0]
    return elapsed_s
