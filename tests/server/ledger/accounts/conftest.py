"""A node without gRPC, with a clock and officers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tacit.privacy.account_change_documents import (
    ApprovalDocument,
    ChangeDocument,
    RejectionDocument,
)
from tacit.privacy.accounting import GaussianEvent
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.budget_documents import (
    AbortDocument,
    AccountDocument,
    CommitDocument,
    ReserveDocument,
)
from tacit.privacy.budget_standing import AccountStanding
from tacit.privacy.canonical import Json
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.store import Spent
from tacit.server.ledger import node as node_module
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.governance import KIND_ROLES
from tacit.server.ledger.keys import KEYS_FILE, PublicKeys
from tacit.server.ledger.node import LedgerNode
from tacit.server.ledger.replay import GovernanceHistory, replay_governance

DELTA = 1e-6
DAY_MS = 86_400_000
START_MS = 1_790_000_000_000
OFFICERS = {"alice": "", "bob": "", "carol": "", "alice-phone": "alice", "dave": ""}
"""Name to person; "alice-phone" is alice's second key, dave approves nothing."""


class Desk:
    """A node, its clock and everybody's keys; entries go in as the services would pass them."""

    def __init__(self, directory: Path) -> None:
        self.now = START_MS
        self.directory = directory
        directory.mkdir(parents=True)
        node_key = SigningKey.generate(os.urandom)
        self.keys = {
            name: SigningKey.generate(os.urandom) for name in ("operator", "coordinator", *OFFICERS)
        }
        (directory / "node.key").write_text(node_key.private_bytes().hex())
        config = {
            "state_dir": str(directory / "state"),
            "address": "127.0.0.1:0",
            "tls_certificate": "unused.pem",
            "tls_key": "unused.key",
            "signing_key": str(directory / "node.key"),
            "origin": "test.example",
            "principals": [self._principal(name) for name in self.keys],
        }
        (directory / "ledger.json").write_text(json.dumps(config))
        self.open_node()

    def open_node(self) -> None:
        config = LedgerConfig.load(self.directory / "ledger.json")
        self.node = LedgerNode(config, now_ms=lambda: self.now)
        self.is_open = True

    def reopen(self) -> None:
        self.close()
        self.open_node()

    def close(self) -> None:
        if self.is_open:
            self.node.close()
        self.is_open = False

    def approvers(self, *names: str) -> tuple[str, ...]:
        return tuple(self.keys[name].key_id for name in names)

    def entry(
        self, kind: str, body: dict[str, Json], name: str, at_ms: int | None = None
    ) -> GovernanceEntry:
        key = self.keys[name]
        return GovernanceEntry.sign(kind, body, self.now if at_ms is None else at_ms, key)

    def append(
        self, kind: str, body: dict[str, Json], name: str = "", at_ms: int | None = None
    ) -> int:
        entry = self.entry(kind, body, name or KIND_ROLES[kind], at_ms)
        return self.node.governance.append(entry)

    def open_account(self, cap: float = 8.0, **changes: Any) -> AccountDocument:
        fields: dict[str, Any] = {
            "population_size": 1000,
            "window_days": 30,
            "alert_thresholds": (0.5, 0.8, 1.0),
            "approvers": self.approvers("alice", "bob", "carol", "alice-phone"),
        }
        document = AccountDocument("main", "shop", cap, DELTA, {"learn": cap}, **(fields | changes))
        self.append("account", document.to_json())
        return document

    def change(
        self,
        terms: AccountTerms | None,
        *,
        ttl_ms: int = DAY_MS,
        reason: str = "because",
        **changes: Any,
    ) -> ChangeDocument:
        fields: dict[str, Any] = {
            "account_id": "main",
            "replaces": self.standing().digest(),
            "reason": reason,
            "expires_at_ms": self.now + ttl_ms,
            "terms": terms,
        }
        return ChangeDocument(**(fields | changes))

    def propose(self, change: ChangeDocument, name: str, at_ms: int | None = None) -> str:
        self.append("account.change", change.to_json(), name, at_ms)
        return change.sha256()

    def approve(self, digest: str, name: str, at_ms: int | None = None) -> int:
        body = ApprovalDocument("main", digest).to_json()
        return self.append("account.approval", body, name, at_ms)

    def reject(self, digest: str, name: str) -> int:
        body = RejectionDocument("main", digest, "no").to_json()
        return self.append("account.rejection", body, name)

    def agree(self, terms: AccountTerms | None) -> None:
        self.approve(self.propose(self.change(terms), "alice"), "bob")

    def refresh(self) -> None:
        self.now += 31 * DAY_MS
        self.agree(None)

    def task(self, name: str, z: float = 8.0, rounds: int = 8, **changes: Any) -> TaskManifest:
        plans = tuple(RoundPlan(i + 1, "popularity/1", 4, 1.0, 4096, z, {}) for i in range(rounds))
        fields: dict[str, Any] = {
            "task_id": name,
            "population": "shop",
            "purpose": "learn",
            "learner": "spectral/1",
            "signals": {"rating": 1.0},
            "rounds": plans,
            "trust_level": "central",
            "cohort_min": 2,
            "cohort_max": 100,
            "cohort_expected": 50,
            "participation_bound": rounds,
            "unit": "user",
            "neighboring_relation": "add_remove",
            "epsilon": 1e4,
            "target_delta": self.standing().account.target_delta,
            "budget_account": "main",
            "catalogue_sha256": "ab" * 32,
            "issued_at_ms": self.now,
            "expires_at_ms": self.now + 36_500 * DAY_MS,
            "base_release": 0,
        }
        task = TaskManifest(**(fields | changes))
        self.append("task", task.to_json())
        return task

    def reserve(self, task: TaskManifest, round_id: int, **changes: Any) -> Spent:
        name = f"{task.task_id}/{round_id}"
        fields: dict[str, Any] = {
            "reservation_id": name,
            "account_id": "main",
            "purpose": task.purpose,
            "idempotency_key": name,
            "task_sha256": task.digest().hex(),
            "round_id": round_id,
            "context_sha256": "cd" * 32,
            "event": GaussianEvent(task.rounds[0].noise_multiplier),
        }
        body = ReserveDocument(**(fields | changes)).to_json()
        return self.node.budget.reserve(self.entry("budget.reserve", body, "coordinator"), self.now)

    def commit(self, name: str) -> Spent:
        account, _, claim = self.node.budget.show("main")
        body = CommitDocument(name, "ef" * 32, claim.epsilon, account.target_delta).to_json()
        return self.node.budget.commit(self.entry("budget.commit", body, "coordinator"))

    def abort(self, name: str) -> Spent:
        body = AbortDocument(name, "nobody came").to_json()
        return self.node.budget.abort(self.entry("budget.abort", body, "coordinator"))

    def standing(self) -> AccountStanding:
        return self.node.budget.stand("main")[0]

    def figures(self) -> tuple[float, float]:
        """Return window and lifetime epsilon."""
        _, _, lifetime, window = self.node.budget.stand("main")
        return window.epsilon, lifetime.epsilon

    def entries(self) -> list[bytes]:
        with self.node.database.reading() as connection:
            return self.node.logs.governance.entries(connection, 0, 100_000)

    def public_keys(self) -> PublicKeys:
        return PublicKeys.parse((self.directory / "state" / KEYS_FILE).read_bytes())

    def replayed(self, entries: Sequence[bytes] | None = None) -> GovernanceHistory:
        accountant = Accountant(epsilon_without_libraries)
        entries = self.entries() if entries is None else entries
        return replay_governance(entries, self.public_keys(), accountant)

    def state(self) -> tuple[object, ...]:
        """Return all that a refused request must leave as it is."""
        standing, held, lifetime, window = self.node.budget.stand("main")
        return standing, tuple(held), lifetime, window, tuple(self.entries())

    def _principal(self, name: str) -> dict[str, str]:
        role = "officer" if name in OFFICERS else name
        principal = {"name": name, "role": role, "public_key": self.keys[name].public_key.hex()}
        person = OFFICERS.get(name)
        return principal | ({"person": person} if person else {})


@pytest.fixture
def new_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Desk]]:
    monkeypatch.setattr(node_module, "Accountant", lambda: Accountant(epsilon_without_libraries))
    made: list[Desk] = []

    def make() -> Desk:
        made.append(Desk(tmp_path / f"desk-{len(made)}"))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def desk(new_desk: Callable[[], Desk]) -> Desk:
    return new_desk()
