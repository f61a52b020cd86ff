"""What a device costs: `python benchmarks/device_costs.py`.

One user with 100 events, 1,682 items, 24 dimensions. Servers answer in memory, and what they do is
inside the figures, so the device's own share is a little less. CPU time counts; wall time includes
waiting for the disk and for whoever else uses the machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tacit.client import Catalogue, DevicePolicy, DeviceSession, FileKeyProvider, Personalizer
from tacit.client.installed import InstalledRelease
from tacit.client.policy import TrustRoots
from tacit.client.wire import CheckIn, LoggedEntry, RoundOffer, Traffic
from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.receipt import Receipt, leaf
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundHeader, RoundPlan, TaskManifest

N_ITEMS, WIDTH, N_EVENTS, DELTA = 1682, 24, 100, 1e-4
HOUR_MS = 3_600_000
GOVERNANCE, CONSENT = "b.example/governance", "b.example/consent"


class InMemoryServers:
    """A ledger and a gateway that tell the truth."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.traffic = Traffic()
        self.ledger, self.coordinator = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
        self.governance, self.consent = MerkleTree(), MerkleTree()
        rng = np.random.default_rng(0)
        self.context = pack_arrays(
            {"basis": rng.normal(size=(N_ITEMS, WIDTH)) / 40, "item_weights": np.ones(N_ITEMS)}
        )
        for n in range(1000):
            self.governance.append(leaf_hash(b"%d" % n))
        plan = RoundPlan(1, "subspace/1", N_ITEMS * WIDTH, 0.2, 8192, 4.0, {})
        now_ms = time.time_ns() // 1_000_000
        self.manifest = TaskManifest(
            "task", "people", "learn", "spectral/1", {"product_view": 1.0}, (plan,), "central",
            2, 2000, 943, 1, "user", "add_remove",
            epsilon_bound([GaussianEvent(4.0)], DELTA) + 1e-6, DELTA, "account",
            catalogue.digest.hex(), now_ms, now_ms + HOUR_MS, 0,
        )  # fmt: skip
        self.offer(self.manifest)

    @property
    def trust(self) -> TrustRoots:
        keys = self.ledger.public_key, self.coordinator.public_key
        return TrustRoots(GOVERNANCE, CONSENT, *keys)

    def offer(self, manifest: TaskManifest) -> None:
        self.entry = GovernanceEntry.sign("task", manifest.to_json(), 0, self.coordinator)
        self.index = self.governance.append(leaf_hash(self.entry.to_bytes()))
        self.header = RoundHeader(
            manifest.digest().hex(), 1, hashlib.sha256(self.context).hexdigest(),
            manifest.issued_at_ms, manifest.expires_at_ms,
        ).to_bytes()  # fmt: skip
        self.signature = self.coordinator.sign("round", self.header)
        tree = self.governance
        self.note = sign(Checkpoint(GOVERNANCE, tree.size, tree.root()), self.ledger, GOVERNANCE)

    def enrol(self, token: str, public_key: bytes, proof: bytes) -> tuple[str, str]:
        raise SystemExit("the benchmark does not enrol")

    def append_consent(self, event: bytes, signature: bytes, known_size: int) -> Receipt:
        tree = self.consent
        index = tree.append(leaf_hash(leaf(event, signature, b"k" * 32)))
        note = sign(Checkpoint(CONSENT, tree.size, tree.root()), self.ledger, CONSENT)
        proof, consistency = tree.inclusion_proof(index), tree.consistency_proof(known_size)
        return Receipt(b"k" * 32, index, tuple(proof), note, tuple(consistency))

    def check_in(self, known_size: int) -> CheckIn:
        task = LoggedEntry(
            self.entry.to_bytes(), self.index, tuple(self.governance.inclusion_proof(self.index)),
            self.note, tuple(self.governance.consistency_proof(known_size)),
        )  # fmt: skip
        return CheckIn(RoundOffer(task, self.header, self.signature, b""), "", 0)

    def contribute(
        self, capability: bytes, task_sha256: bytes, round_id: int, values: bytes
    ) -> None:
        self.received = len(values)

    def fetch_blob(self, sha256: bytes, max_bytes: int) -> bytes:
        return self.context

    def get_release(self, population: str, known_size: int, kind: str) -> LoggedEntry | None:
        return None


def install_model(device: Personalizer) -> None:
    popularity = np.full(N_ITEMS, 1 / N_ITEMS)
    blob = pack_arrays(
        {
            "popularity": popularity,
            "item_variance": popularity,
            "loadings": np.random.default_rng(1).normal(size=(N_ITEMS, WIDTH)) * 1e-4,
            "prior_variance": np.ones(WIDTH),
        }
    )
    digest = device.catalogue.digest.hex()
    manifest = ReleaseManifest(
        "people", 1, "0" * 64, "0" * 64, len(blob), digest, ("r",), 1.0, DELTA, 0
    )
    device.releases.put(InstalledRelease(manifest, blob))


def measure(name: str, work: Callable[[], object], times: int) -> None:
    work()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    for _ in range(times):
        work()
    cpu_ms = (time.process_time() - cpu_s) / times * 1000
    wall_ms = (time.perf_counter() - wall_s) / times * 1000
    print(f"{name:48} {cpu_ms:9.3f} {wall_ms:9.3f}")


def main() -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, commit {commit}")
    print(f"{'':48} {'CPU ms':>9} {'wall ms':>9}")
    catalogue = Catalogue.build((f"i{n}", f"Item {n}", ["A"]) for n in range(N_ITEMS))
    servers = InMemoryServers(catalogue)
    with tempfile.TemporaryDirectory() as folder:

        def opened(name: str = "device") -> Personalizer:
            policy = DevicePolicy(max_epsilon=1e6)
            path = Path(folder, f"{name}.db")
            return Personalizer.open(
                path, FileKeyProvider(Path(folder, "key")), catalogue, policy=policy
            )

        made: list[int] = []

        def create() -> None:
            made.append(1)
            opened(f"new{len(made)}").close()

        def answer() -> None:
            with opened() as one:
                session = DeviceSession(one, servers, servers.trust)
                offer = session.check_in()
                if offer is None:
                    raise SystemExit("expected an offer")
                session.contribute(offer)

        def answer_new_task() -> None:
            made.append(1)
            servers.offer(dataclasses.replace(servers.manifest, task_id=f"task {len(made)}"))
            answer()

        with opened() as device:
            device.enrolled("people")
            device.consent("learn", ["product_view"], True)
            device.track_all(
                ("Product Viewed", {"product_id": f"i{7 * n}"}, None, None) for n in range(N_EVENTS)
            )
            install_model(device)
        measure("make a store", create, 20)
        measure("open and close a store", lambda: opened().close(), 50)
        measure("open, check in, send again", answer, 30)
        measure("open, check in, contribute (a new task each)", answer_new_task, 30)
        with opened() as device:
            measure("recommend 10 with reasons", lambda: device.recommend(k=10), 50)
            measure("recommend 100", lambda: device.recommend(k=100), 50)
            decision = device.recommend(k=1)
            item = decision.items[0].item_id
            measure("explain", lambda: device.explain(decision.id, item), 30)
            view = {"product_id": "i5"}
            measure("track", lambda: device.track("Product Viewed", view), 2000)
            batch = [("Product Viewed", view, None, None)] * 100
            measure("track_all of 100", lambda: device.track_all(batch), 30)


if __name__ == "__main__":
    main()
