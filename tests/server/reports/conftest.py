"""Ledgers written entry by entry with keys and times of one's own, and verified like any other."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from tacit.privacy.account_change_documents import (
    ApprovalDocument,
    ChangeDocument,
    RejectionDocument,
)
from tacit.privacy.accounting import GaussianEvent
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.audit import AuditDocument, AuditTest
from tacit.privacy.budget_account import AccountTerms
from tacit.privacy.budget_documents import (
    AbortDocument,
    AccountDocument,
    CommitDocument,
    ReserveDocument,
)
from tacit.privacy.canonical import Json
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.consent_map import MapEpoch
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.release import ReleaseManifest, ReleaseStatement
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.budget.accountant import Accountant
from tacit.server.ledger.config import Principal
from tacit.server.ledger.contents import LedgerContents, LogContents
from tacit.server.ledger.keys import PublicKeys
from tacit.server.ledger.log import CONSENT, GOVERNANCE
from tacit.server.ledger.replay import replay_governance
from tacit.server.reports import VerifiedLedger, verified

DELTA = 1e-6
DAY_MS = 86_400_000
START_MS = 1_767_571_200_000
"""2026-01-05 00:00 UTC."""

HOSTILE = '<script>alert(1)</script>"\'&{{7*7}} #panic("x") *b* $x$ ]\\ \u202egnp.exe'
"""Markup of HTML, Jinja2 and Typst, and a right-to-left override."""

_ROLES = {"coordinator": "coordinator", "operator": "operator", "auditor": "auditor"}


class Writer:
    """A ledger in memory: each entry signed by the role it needs, at a time that is chosen."""

    def __init__(self, officers: tuple[str, str] = ("alice", "bob")) -> None:
        self.now_ms = START_MS
        self.node_key = _key("node")
        self.keys = {name: _key(name) for name in (*_ROLES, *officers)}
        self.officers = officers
        self.public = PublicKeys(
            self.node_key.public_key,
            {GOVERNANCE: "test.example/governance", CONSENT: "test.example/consent"},
            tuple(
                Principal(name, _ROLES.get(name, "officer"), key.public_key)
                for name, key in self.keys.items()
            ),
        )
        self.entries: list[bytes] = []
        self.consents: list[bytes] = []
        self.accountant = Accountant(epsilon_without_libraries)

    def append(self, kind: str, body: dict[str, Json], by: str) -> int:
        key = self.node_key if by == "node" else self.keys[by]
        self.entries.append(GovernanceEntry.sign(kind, body, self.now_ms, key).to_bytes())
        return len(self.entries) - 1

    def later(self, days: float) -> Writer:
        self.now_ms += round(days * DAY_MS)
        return self

    def notice(self, text: str = "What you do stays here.", version: str = "1") -> int:
        body = NoticeDocument("privacy", version, "en", text).to_json()
        return self.append("notice", body, "operator")

    def account(self, cap: float = 2.0, **changes: Any) -> AccountDocument:
        document = AccountDocument(
            account_id="main",
            population="shop",
            cap_epsilon=cap,
            target_delta=DELTA,
            quotas={"learn": cap},
            population_size=5_000,
            window_days=90,
            alert_thresholds=(0.5, 0.8),
            approvers=tuple(self.keys[name].key_id for name in self.officers),
        )
        document = dataclasses.replace(document, **changes)
        self.append("account", document.to_json(), "operator")
        return document

    def task(self, task_id: str = "task-1", rounds: int = 3, z: float = 8.0, **changes: Any) -> Any:
        unpaid = changes.get("trust_level") == CONSENT_ONLY
        event = [GaussianEvent(z, rounds)]
        fields: dict[str, Any] = {
            "task_id": task_id,
            "population": "shop",
            "purpose": "learn",
            "learner": "spectral/3",
            "signals": {"rating": 1.0, "purchase": 2.0},
            "rounds": tuple(
                RoundPlan(i, "popularity/1", 10, 1.0, 4096, 0.0 if unpaid else z, {})
                for i in range(1, rounds + 1)
            ),
            "trust_level": "central",
            "cohort_min": 20,
            "cohort_max": 1000,
            "cohort_expected": 500,
            "participation_bound": rounds,
            "unit": "user",
            "neighboring_relation": "" if unpaid else "add_remove",
            "epsilon": None if unpaid else self.accountant.claim(event, DELTA).epsilon,
            "target_delta": None if unpaid else DELTA,
            "budget_account": "" if unpaid else "main",
            "catalogue_sha256": hashlib.sha256(b"catalogue").hexdigest(),
            "issued_at_ms": self.now_ms,
            "expires_at_ms": self.now_ms + 30 * DAY_MS,
            "base_release": 0,
        }
        task = TaskManifest(**(fields | changes))
        self.append("task", task.to_json(), "coordinator")
        return task

    def reserve(self, task: TaskManifest, round_id: int) -> str:
        name = _name(task, round_id)
        event = task.event(task.round_plan(round_id))
        assert event is not None
        document = ReserveDocument(
            name,
            task.budget_account,
            task.purpose,
            name,
            task.digest().hex(),
            round_id,
            "ab" * 32,
            event,
        )
        self.append("budget.reserve", document.to_json(), "coordinator")
        return name

    def commit(self, name: str, account_id: str = "main") -> None:
        spent = self.spent(account_id)
        digest = hashlib.sha256(name.encode()).hexdigest()
        document = CommitDocument(name, digest, spent, DELTA)
        self.append("budget.commit", document.to_json(), "coordinator")

    def abort(self, name: str, reason: str) -> None:
        self.append("budget.abort", AbortDocument(name, reason).to_json(), "coordinator")

    def release(self, task: TaskManifest, version: int = 1) -> ReleaseManifest:
        unpaid = task.trust_level == CONSENT_ONLY
        release = ReleaseManifest(
            population=task.population,
            version=version,
            task_sha256=task.digest().hex(),
            model_sha256=hashlib.sha256(b"model").hexdigest(),
            model_bytes=1234,
            catalogue_sha256=task.catalogue_sha256,
            reservations=()
            if unpaid
            else tuple(_name(task, plan.round_id) for plan in task.rounds),
            epsilon=task.epsilon,
            target_delta=task.target_delta,
            created_at_ms=self.now_ms,
            trust_level=task.trust_level,
            statement=None
            if task.target_delta is None
            else ReleaseStatement.of(
                self.accountant.claim(task.events(), task.target_delta), task.participation_bound
            ),
        )
        self.append("release", release.to_json(), "coordinator")
        return release

    def train(self, task: TaskManifest, version: int = 1) -> ReleaseManifest:
        for plan in task.rounds:
            self.commit(self.reserve(task, plan.round_id))
            self.later(1)
        return self.release(task, version)

    def train_unpaid(self, task: TaskManifest) -> ReleaseManifest:
        for plan in task.rounds:
            record = RoundRecord(task.digest().hex(), plan.round_id, "ab" * 32)
            self.append("round", record.to_json(), "coordinator")
        return self.release(task)

    def propose(self, terms: AccountTerms | None, reason: str, account_id: str = "main") -> str:
        standing = self.replayed().standings[account_id]
        document = ChangeDocument(
            account_id, standing.digest(), reason, self.now_ms + 3 * DAY_MS, terms
        )
        self.append("account.change", document.to_json(), self.officers[0])
        return document.sha256()

    def approve(self, change: str, account_id: str = "main") -> None:
        document = ApprovalDocument(account_id, change)
        self.append("account.approval", document.to_json(), self.officers[1])

    def reject(self, change: str, reason: str, account_id: str = "main") -> None:
        document = RejectionDocument(account_id, change, reason)
        self.append("account.rejection", document.to_json(), self.officers[1])

    def audit(self, *releases: tuple[str, int], findings: tuple[str, ...] = ()) -> AuditDocument:
        tree = MerkleTree(leaf_hash(one) for one in self.entries)
        document = AuditDocument(
            report_sha256=hashlib.sha256(str(len(self.entries)).encode()).hexdigest(),
            tool="tacit 0.1.0",
            log_size=tree.size,
            log_root=tree.root().hex(),
            tasks=(),
            releases=releases,
            tests=(
                AuditTest("noise", "z 8", bool(findings), 1e-6, {"noise x0.9": 0.999}),
                AuditTest("ledger", "every entry", False, 0.0, {}),
            ),
            findings=findings,
        )
        self.append("audit", document.to_json(), "auditor")
        return document

    def consent(self, leaves: int) -> None:
        """Grow the consent log by so many opaque leaves, and publish a map epoch."""
        for _ in range(leaves):
            place = len(self.consents).to_bytes(4, "big")
            self.consents.append(b"\x01" + hashlib.sha256(place).digest())
        tree = MerkleTree(leaf_hash(one) for one in self.consents)
        epochs = self.replayed().map_epochs
        number = epochs[-1].epoch + 1 if epochs else 1
        epoch = MapEpoch(number, tree.size, tree.root().hex(), "cd" * 32)
        self.append("consent.map", epoch.to_json(), "node")

    def replayed(self) -> Any:
        return replay_governance(self.entries, self.public, self.accountant)

    def spent(self, account_id: str) -> float:
        history = self.replayed()
        events = [e for one in history.reservations[account_id] if one.counts for e in one.events]
        return self.accountant.claim(events, DELTA).epsilon

    def contents(self) -> LedgerContents:
        logs = {
            name: LogContents(tuple(entries), self._notes(name, entries))
            for name, entries in ((GOVERNANCE, self.entries), (CONSENT, self.consents))
        }
        return LedgerContents(self.public, self.public.sign(self.node_key), logs)

    def verified(self) -> VerifiedLedger:
        """Verify it, quickly: the closed form alone composes, which gives the same figures."""
        return verified(self.contents(), compose=epsilon_without_libraries)

    def _notes(self, name: str, entries: list[bytes]) -> tuple[bytes, ...]:
        origin, tree, notes = self.public.origins[name], MerkleTree(), list[bytes]()
        for entry in entries:
            tree.append(leaf_hash(entry))
            notes.append(sign(Checkpoint(origin, tree.size, tree.root()), self.node_key, origin))
        return tuple(notes)


def _name(task: TaskManifest, round_id: int) -> str:
    """Name a reservation in the letters that one may have."""
    return f"{re.sub('[^0-9A-Za-z._-]', '', task.task_id)}/{round_id}"


def _key(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


def a_year(writer: Writer) -> Writer:
    """Two quarters: a release, an abort, a refresh, a raised cap, a rejection, an open spend."""
    writer.notice()
    writer.consent(30)
    writer.account(cap=1.0)
    writer.later(10).train(writer.task())  # window 1: ε 0.908402
    writer.audit(("shop", 1))
    second = writer.later(10).task("task-2", z=20.0)
    writer.abort(writer.reserve(second, 1), "nobody came")
    writer.commit(writer.reserve(second, 2))
    writer.later(80)  # 2026-04-18
    writer.consent(12)
    writer.approve(writer.propose(None, "new quarter"))
    account = writer.replayed().accounts["main"]
    terms = dataclasses.replace(account.terms, cap_epsilon=2.0, quotas={"learn": 2.0})
    writer.later(1).approve(writer.propose(terms, "spring campaign"))
    lower = dataclasses.replace(terms, target_delta=1e-9)
    writer.reject(writer.later(1).propose(lower, "larger population"), "not yet")
    third = writer.later(5).task("task-3", rounds=2, z=10.0)
    writer.commit(writer.reserve(third, 1))
    writer.later(1).reserve(third, 2)
    return writer


@pytest.fixture
def new_writer() -> Callable[..., Writer]:
    return Writer


@pytest.fixture(scope="session")
def year() -> VerifiedLedger:
    return a_year(Writer()).verified()


@pytest.fixture(scope="session")
def hostile() -> VerifiedLedger:
    """The same, by people whose names, tasks, reasons and notices are attacks."""
    writer = Writer(officers=(HOSTILE + "a", HOSTILE + "b"))
    writer.notice(HOSTILE)
    writer.account()
    writer.train(writer.task(HOSTILE[:60]))
    second = writer.task("t" + HOSTILE[:50], z=20.0)
    writer.abort(writer.reserve(second, 1), HOSTILE)
    writer.audit(("shop", 1), findings=(HOSTILE,))
    printable = HOSTILE.replace("\u202e", "")  # officers' reasons are refused with one in them
    writer.reject(writer.propose(None, printable), printable)
    return writer.verified()


@pytest.fixture(scope="session")
def unpaid() -> VerifiedLedger:
    """A population at trust level consent-only, without an account."""
    writer = Writer()
    writer.notice()
    writer.train_unpaid(writer.task(trust_level=CONSENT_ONLY))
    return writer.verified()


@pytest.fixture(scope="session")
def day() -> datetime.date:
    return datetime.date(2026, 7, 1)


@pytest.fixture(scope="session")
def hostile_text() -> str:
    return HOSTILE
