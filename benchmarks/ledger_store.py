"""Reserve and commit on both databases: `python benchmarks/ledger_store.py [PAIRS]`.

A real ledger process, gRPC and TLS on loopback, signed requests, one account; a pair is one reserve
and one commit, each durable, logged and anchored before its answer. SQLite first, PostgreSQL (from
the `pgserver` wheel, its defaults) after it in the same run, on the same disk. The last column is a
single worker again, when the account already holds everything before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.budget_documents import AccountDocument, ReserveDocument
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.ledger.client import LedgerClient
from tacit.server.tls import issue, make_authority

WORKERS, Z, DELTA, ROUNDS_A_TASK = 64, 1000.0, 1e-6, 200


class Ledger:
    """One ledger process on a new database."""

    def __init__(self, home: Path, database: str) -> None:
        home.mkdir(mode=0o700)
        self.authority = make_authority()
        issue(self.authority, ["127.0.0.1"]).write(home / "tls.pem", home / "tls.key")
        names = ("node", "operator", "coordinator")
        self.keys = {name: SigningKey.generate(os.urandom) for name in names}
        (home / "node.key").write_text(self.keys["node"].private_bytes().hex())
        document: dict[str, Any] = {
            "state_dir": str(home / "state"),
            "address": "127.0.0.1:0",
            "tls_certificate": str(home / "tls.pem"),
            "tls_key": str(home / "tls.key"),
            "signing_key": str(home / "node.key"),
            "origin": "bench.example",
            "principals": [
                {"name": role, "role": role, "public_key": self.keys[role].public_key.hex()}
                for role in names[1:]
            ],
        }
        if database:
            document["database"] = database
        self.home = home
        (home / "ledger.json").write_text(json.dumps(document))
        self.start()

    def start(self) -> None:
        """Start the process, for the first time or again."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tacit.server.ledger", "--config", self.home / "ledger.json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self.process.stdout is None:
            raise RuntimeError("expected a pipe from the ledger process")
        self.address = self.process.stdout.readline().split()[1]

    def client(self, role: str) -> LedgerClient:
        return LedgerClient(
            self.address, self.authority.certificate_pem, self.keys[role], patience_s=120
        )

    def publish(self, client: LedgerClient, number: int) -> Iterator[ReserveDocument]:
        """Publish a task; yields the spends of its rounds."""
        now_ms = time.time_ns() // 1_000_000
        plans = tuple(
            RoundPlan(n, "popularity/1", 10, 1.0, 4096, Z, {}) for n in range(1, ROUNDS_A_TASK + 1)
        )
        each = epsilon_bound([GaussianEvent(Z, ROUNDS_A_TASK)], DELTA) + 1e-6
        task = TaskManifest(
            f"task-{number}", "shop", "learn", "popularity/1", {"rating": 1.0}, plans, "central",
            2, 100, 50, ROUNDS_A_TASK, "user", "add_remove", each, DELTA, "main",
            hashlib.sha256(b"catalogue").hexdigest(), now_ms, now_ms + 36_000_000, 0,
        )  # fmt: skip
        client.append_governance("task", task.to_json())
        name = f"{task.task_id}/1"
        first = ReserveDocument(
            name, "main", "learn", name, task.digest().hex(), 1, "ab" * 32, GaussianEvent(Z)
        )
        for n in range(1, ROUNDS_A_TASK + 1):
            name = f"{task.task_id}/{n}"
            yield replace(first, reservation_id=name, idempotency_key=name, round_id=n)


def work(
    client: LedgerClient, documents: Iterator[ReserveDocument], lock: Any, took: list[float]
) -> None:
    while True:
        with lock:
            document = next(documents, None)
        if document is None:
            return
        began = time.perf_counter()
        client.reserve(document)
        client.commit("main", document.reservation_id, "ab" * 32)
        took.append(time.perf_counter() - began)


def run(ledger: Ledger, documents: list[ReserveDocument], workers: int) -> str:
    lock, took, shared = threading.Lock(), list[float](), iter(documents)
    clients = [ledger.client("coordinator") for _ in range(workers)]
    for client in clients:
        client.show_budget("main")
    threads = [
        threading.Thread(target=work, args=(client, shared, lock, took)) for client in clients
    ]
    began = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    rate = len(documents) / (time.perf_counter() - began)
    for client in clients:
        client.close()
    median, worst = statistics.median(took), statistics.quantiles(took, n=100)[98]
    return f"{rate:6.0f} /s  p50 {median * 1e3:5.0f}  p99 {worst * 1e3:5.0f} ms"


def measure(home: Path, name: str, database: str, pairs: int) -> None:
    ledger = Ledger(home, database)
    try:
        account = AccountDocument("main", "shop", 50.0, DELTA, {"learn": 50.0})
        with ledger.client("operator") as operator, ledger.client("coordinator") as publisher:
            operator.append_governance("account", account.to_json())
            documents: list[ReserveDocument] = []
            while len(documents) < 2 * (pairs // 10) + pairs:
                documents += ledger.publish(publisher, len(documents))
        some = pairs // 10
        alone = run(ledger, documents[:some], 1)
        many = run(ledger, documents[some : some + pairs], WORKERS)
        late = run(ledger, documents[some + pairs : 2 * some + pairs], 1)
        print(f"{name:12} | {alone} | {many} | {late}", flush=True)
    finally:
        ledger.process.terminate()
        ledger.process.wait()


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {commit}")
    print(f"reserve + commit, pairs; {pairs} by {WORKERS} workers, {pairs // 10} by one")
    print(f"{'':12} | {'1 worker':33} | {f'{WORKERS} workers':33} | 1 worker, account full")
    with tempfile.TemporaryDirectory(prefix="tacit-bench-", dir="/tmp") as directory:
        home = Path(directory)
        home.chmod(0o755)
        measure(home / "sqlite", "SQLite", "", pairs)
        os.environ.setdefault("XDG_RUNTIME_DIR", directory)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wheel: Any = __import__("pgserver")
        server = wheel.get_server(home / "data", cleanup_mode="stop")
        try:
            address = f"postgresql://postgres@/postgres?host={home / 'data'}"
            measure(home / "postgres", "PostgreSQL", address, pairs)
        finally:
            postmaster = psutil.Process(server.get_pid())
            postmaster.send_signal(signal.SIGQUIT)  # at once: nothing of it is used again
            postmaster.wait(30)
            server.cleanup()


if __name__ == "__main__":
    main()
