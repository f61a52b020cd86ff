"""Verify ledgers of many small spends: `python benchmarks/ledger_verify.py [SPENDS …]`.

Each ledger is generated in memory, as a node would have signed it: one account, tasks of 200
rounds, a reserve and a commit for every round, and a signed checkpoint for every entry. Half of the
spends are of one noise multiplier, the others of seven more, so compositions differ. The last
column stays what it is where the time is linear. Times are of the processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from tacit.privacy.accounting import (
    GaussianEvent,
    RunningComposition,
    epsilon_bound,
    epsilon_bound_of_sums,
    round_up,
)
from tacit.privacy.budget_documents import AccountDocument, CommitDocument, ReserveDocument
from tacit.privacy.canonical import Json
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.budget.facts import release_facts
from tacit.server.budget.statement import account_statements
from tacit.server.ledger.config import Principal
from tacit.server.ledger.contents import LedgerContents, LogContents
from tacit.server.ledger.keys import PublicKeys
from tacit.server.ledger.verify import replaying_accountant, verify_contents

DELTA, ROUNDS_A_TASK, NOW_MS = 1e-6, 200, 1_700_000_000_000
MULTIPLIERS = (1000.0, 1200.0, 1000.0, 1500.0, 1000.0, 2000.0, 1000.0, 2500.0)
ROLES = ("operator", "coordinator")


class Signed:
    """A governance log in the making."""

    def __init__(self) -> None:
        self.node = SigningKey.generate(os.urandom)
        self.keys = {role: SigningKey.generate(os.urandom) for role in ROLES}
        self.origin = "bench.example/governance"
        self.entries: list[bytes] = []
        self.notes: list[bytes] = []
        self._tree = MerkleTree()

    def append(self, role: str, kind: str, body: dict[str, Json]) -> None:
        data = GovernanceEntry.sign(kind, body, NOW_MS, self.keys[role]).to_bytes()
        self._tree.append(leaf_hash(data))
        self.entries.append(data)
        checkpoint = Checkpoint(self.origin, self._tree.size, self._tree.root())
        self.notes.append(sign(checkpoint, self.node, self.origin))

    def contents(self) -> LedgerContents:
        origins = {"governance": self.origin, "consent": "bench.example/consent"}
        principals = tuple(Principal(r, r, key.public_key) for r, key in self.keys.items())
        keys = PublicKeys(self.node.public_key, origins, principals)
        logs = {
            "governance": LogContents(tuple(self.entries), tuple(self.notes)),
            "consent": LogContents((), ()),
        }
        return LedgerContents(keys, keys.sign(self.node), logs)


def task(number: int, multipliers: list[float]) -> TaskManifest:
    """Return a task whose rounds have these noise multipliers."""
    plans = tuple(
        RoundPlan(n, "popularity/1", 10, 1.0, 4096, z, {}) for n, z in enumerate(multipliers, 1)
    )
    figure = epsilon_bound_of_sums(
        RunningComposition(GaussianEvent(z) for z in multipliers).sums, DELTA
    )
    return TaskManifest(
        f"task-{number}", "shop", "learn", "popularity/1", {"rating": 1.0}, plans, "central", 2,
        100, 50, len(plans), "user", "add_remove", round_up(figure), DELTA, "main",
        hashlib.sha256(b"catalogue").hexdigest(), NOW_MS, NOW_MS + 36_000_000, 0,
    )  # fmt: skip


def generate(spends: int) -> LedgerContents:
    """Return a ledger of this many committed spends of one account."""
    log = Signed()
    cap = epsilon_bound([GaussianEvent(1000.0, spends)], DELTA)
    account = AccountDocument("main", "shop", round_up(cap), DELTA, {"learn": round_up(cap)})
    log.append("operator", "account", account.to_json())
    composed = RunningComposition()
    for start in range(0, spends, ROUNDS_A_TASK):
        number = min(ROUNDS_A_TASK, spends - start)
        zs = [MULTIPLIERS[(start + n) % len(MULTIPLIERS)] for n in range(number)]
        manifest = task(start // ROUNDS_A_TASK, zs)
        log.append("coordinator", "task", manifest.to_json())
        for round_id, z in enumerate(zs, 1):
            event, name = GaussianEvent(z), f"{manifest.task_id}/{round_id}"
            composed.add(event)
            digest = manifest.digest().hex()
            spend = ReserveDocument(name, "main", "learn", name, digest, round_id, "ab" * 32, event)
            log.append("coordinator", "budget.reserve", spend.to_json())
            figure = round_up(epsilon_bound_of_sums(composed.sums, DELTA))
            commit = CommitDocument(name, "cd" * 32, figure, DELTA)
            log.append("coordinator", "budget.commit", commit.to_json())
    return log.contents()


def timed(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def main() -> None:
    sizes = [int(one) for one in sys.argv[1:]] or [1_000, 3_000, 10_000]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    replaying_accountant().wait_until_ready()  # imports the libraries
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {commit}")
    print(
        f"{'spends':>7} {'entries':>8} | {'verify':>8} {'statement':>10} {'facts':>8} | per spend"
    )
    for spends in sizes:
        contents = generate(spends)
        verify = timed(partial(verify_contents, contents))
        state = timed(partial(account_statements, contents))
        facts = timed(partial(release_facts, contents, replaying_accountant()))
        entries = len(contents.logs["governance"].entries)
        print(
            f"{spends:7} {entries:8} | {verify:6.1f} s {state:8.1f} s {facts:6.1f} s | "
            f"{verify / spends * 1e3:.2f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
