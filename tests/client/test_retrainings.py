"""Retrainings on the device: verified, acted on, and asked for alike by everybody."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tacit.client import (
    Catalogue,
    DeviceSession,
    FileKeyProvider,
    Personalizer,
    ReleaseRefused,
    RollbackRefused,
    TrustRoots,
)
from tacit.client.installed import InstalledRelease
from tacit.client.retrainings import labels
from tacit.client.rights_log import RightsReceipt
from tacit.client.wire import LoggedEntry, RetrainingAnswer, Traffic
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.erasure import ErasureStatement, LabelledRound
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import Retraining
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundPlan, TaskManifest

NOW_MS = 1_800_000_000_000
GOVERNANCE, CONSENT = "t.example/governance", "t.example/consent"


class Servers:
    """A ledger in memory in which release 2, from 1, is retrained as 3; it can be made to lie."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.ledger, self.coordinator = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
        self.tree = MerkleTree()
        self.entries: list[bytes] = []
        self.asked: list[tuple[str, int, int]] = []
        self.mangle: Callable[[LoggedEntry], LoggedEntry] = lambda entry: entry
        self.order = (2, 3, 4, 1, 0)  # of what follows: announcement, task, release, base and task
        self.first = self.task(1)
        self.second = self.task(2, base=1)
        self.announced = Retraining(
            "people", "ranking", (self.digest(self.second),), 1, 9, "ab" * 32, "op", "erasure"
        )
        self.again = self.task(4, base=1, retrains=self.announced.digest())
        self.publish("task", self.first)
        self.publish("release", self.release(1, self.first))
        self.publish("retraining", self.announced, self.ledger)
        self.publish("task", self.again)
        self.publish("release", self.release(3, self.again, supersedes=(2,)))

    def publish(self, kind: str, document: Any, key: SigningKey | None = None) -> None:
        entry = GovernanceEntry.sign(kind, document.to_json(), NOW_MS, key or self.coordinator)
        self.entries.append(entry.to_bytes())
        self.tree.append(leaf_hash(entry.to_bytes()))

    @property
    def trust(self) -> TrustRoots:
        return TrustRoots(GOVERNANCE, CONSENT, self.ledger.public_key, self.coordinator.public_key)

    @staticmethod
    def digest(task: TaskManifest) -> str:
        return task.digest().hex()

    def task(self, number: int, base: int = 0, retrains: str = "") -> TaskManifest:
        return TaskManifest(
            task_id=f"t{number}",
            population="people",
            purpose="learn",
            learner="spectral/3",
            signals={"rating": 1.0},
            rounds=(RoundPlan(1, "popularity/1", 10, 1.0, 4096, 8.0, {}),),
            trust_level="central",
            cohort_min=2,
            cohort_max=100,
            cohort_expected=50,
            participation_bound=1,
            unit="user",
            neighboring_relation="add_remove",
            epsilon=1.0,
            target_delta=1e-6,
            budget_account="main",
            catalogue_sha256="00" * 32,
            issued_at_ms=1,
            expires_at_ms=2,
            base_release=base,
            retrains=retrains,
        )

    def release(
        self, version: int, task: TaskManifest, supersedes: tuple[int, ...] = ()
    ) -> ReleaseManifest:
        return ReleaseManifest(
            population="people",
            version=version,
            task_sha256=self.digest(task),
            model_sha256=hashlib.sha256(b"m%d" % version).hexdigest(),
            model_bytes=2,
            catalogue_sha256="00" * 32,
            reservations=("r",),
            epsilon=1.0,
            target_delta=1e-6,
            created_at_ms=NOW_MS,
            supersedes=supersedes,
        )

    def logged(self, index: int, known_size: int) -> LoggedEntry:
        tree = self.tree
        note = sign(Checkpoint(GOVERNANCE, tree.size, tree.root()), self.ledger, GOVERNANCE)
        return LoggedEntry(
            self.entries[index],
            index,
            tuple(tree.inclusion_proof(index)),
            note,
            tuple(tree.consistency_proof(known_size)) if known_size else (),
        )

    def get_retrainings(self, population: str, known_size: int, after: int) -> RetrainingAnswer:
        self.asked.append((population, known_size, after))
        if after > self.order[2]:
            return RetrainingAnswer(())
        entries = tuple(self.mangle(self.logged(index, known_size)) for index in self.order)
        return RetrainingAnswer((entries,))

    def get_release(self, population: str, known_size: int, kind: str) -> LoggedEntry:
        return self.logged(len(self.entries) - 1, known_size)


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Personalizer]:
    catalogue = Catalogue.build([("i1", "Item one", [])])
    keys = FileKeyProvider(tmp_path / "p.key")
    with Personalizer.open(tmp_path / "p.db", keys, catalogue, clock_ms=lambda: NOW_MS) as opened:
        yield opened


def _session(device: Personalizer, servers: Any) -> DeviceSession:
    return DeviceSession(device, servers, servers.trust)


def _was_erased(device: Personalizer, *rounds: LabelledRound) -> None:
    stated = ErasureStatement("cd" * 32, NOW_MS, rounds, 1.0, 1e-6, "people", (2,)).to_bytes()
    receipt = RightsReceipt(0, "erase", NOW_MS, False, "erased", statement=stated.hex())
    device.rights_log.add(receipt)


def _labels(device: Personalizer) -> list[str]:
    return [label for one in device.rights.receipts() for label in labels(one)]


def test_an_erased_device_learns_that_it_is_in_nothing_any_more(
    device: Personalizer, servers: Servers
) -> None:
    _was_erased(
        device,
        LabelledRound(servers.digest(servers.second), 1, "dp-bounded"),
        LabelledRound("ef" * 32, 1, "dp-bounded"),  # of a task no retraining covers
        LabelledRound(servers.digest(servers.second), 2, "stopped"),
    )
    statement = device.rights.receipts()[0].statement
    assert _session(device, servers).look_after_erasure()
    assert _labels(device) == ["retrained-exact", "dp-bounded", "stopped"]
    (receipt,) = device.rights.receipts()
    assert receipt.statement == statement, "what was stated then stays as it was"
    assert "1 dp-bounded, 1 retrained-exact, 1 stopped" in receipt.summary
    # What it keeps shows others that it is so: entries, audit paths and a signed checkpoint.
    kept: Any = parse_canonical(bytes.fromhex(receipt.retrained))["proofs"]
    assert [(one["release"], len(one["entries"])) for one in kept] == [(3, 5)]
    assert type(receipt).from_bytes(receipt.to_bytes()) == receipt
    # Asked again it goes on asking the same, for there is one label left, and adds nothing.
    assert _session(device, servers).look_after_erasure()
    assert device.rights.receipts() == [receipt]


def test_who_is_in_the_new_release_too_is_not_gone(device: Personalizer, servers: Servers) -> None:
    for also in (servers.again, servers.first):
        _was_erased(
            device,
            LabelledRound(servers.digest(servers.second), 1, "dp-bounded"),
            LabelledRound(servers.digest(also), 1, "dp-bounded"),
        )
    _session(device, servers).look_after_erasure()
    assert set(_labels(device)) == {"dp-bounded"}


def test_everybody_asks_the_same_so_asking_tells_nothing(
    tmp_path: Path, device: Personalizer, servers: Servers
) -> None:
    """A person who was erased and came back under a new name, and one who was never erased."""
    keys = FileKeyProvider(tmp_path / "q.key")
    with Personalizer.open(tmp_path / "q.db", keys, clock_ms=lambda: NOW_MS) as other:
        _was_erased(device, LabelledRound(servers.digest(servers.second), 1, "dp-bounded"))
        for one in (device, other):
            one.enrolled("people")
            session = _session(one, servers)
            assert not session.look_after_erasure(), "under a name only the common question"
            session.look_for_retrainings()
            session.look_for_retrainings()
    assert servers.asked[:2] == servers.asked[2:] == [("people", 0, 0), ("people", 5, 5)]
    assert _labels(device) == ["retrained-exact"]


def test_a_device_without_an_erasure_and_without_a_name_asks_nothing(
    device: Personalizer, servers: Servers
) -> None:
    assert not _session(device, servers).look_after_erasure()
    _was_erased(device, LabelledRound(servers.digest(servers.second), 1, "stopped"))
    assert not _session(device, servers).look_after_erasure()
    assert servers.asked == []


def test_a_superseded_release_is_removed_and_stays_refused(
    device: Personalizer, servers: Servers
) -> None:
    device.enrolled("people")
    old = servers.release(2, servers.second)
    for version in (1, 2):
        device.releases.put(InstalledRelease(dataclasses.replace(old, version=version), b"m2"))
    session = _session(device, servers)
    session.look_for_retrainings()
    assert device.releases.get() is None
    assert device.releases.ranking(2) is None
    assert device.releases.ranking(1) is not None, "what was not superseded stays explainable"
    # Served again, it is refused, as is anything older.
    for version in (1, 2):
        manifest = dataclasses.replace(
            old, version=version, catalogue_sha256=device.catalogue.digest.hex()
        )
        servers.publish("release", manifest)
        with pytest.raises(
            RollbackRefused, match="expected a version above 2, which was withdrawn"
        ):
            session.pull_release()


def _signed_by(servers: Servers, index: int, key: SigningKey) -> None:
    entry = GovernanceEntry.parse(servers.entries[index])
    forged = GovernanceEntry.sign(entry.kind, entry.body, NOW_MS, key)
    servers.entries[index] = forged.to_bytes()
    servers.tree = MerkleTree()
    for data in servers.entries:
        servers.tree.append(leaf_hash(data))


def _without_its_path(entry: LoggedEntry) -> LoggedEntry:
    return dataclasses.replace(entry, inclusion=entry.inclusion[:-1])


LIES: dict[str, tuple[Callable[[Servers], None], str]] = {
    "an entry that is not in the log": (
        lambda s: setattr(s, "mangle", _without_its_path),
        "step 3, inclusion",
    ),
    "an announcement the coordinator signed": (
        lambda s: _signed_by(s, 2, s.coordinator),
        "step 4, ledger",
    ),
    "a task the ledger signed": (lambda s: _signed_by(s, 3, s.ledger), "step 4, coordinator"),
    "a checkpoint of another ledger": (
        lambda s: setattr(s, "ledger", SigningKey(b"\7" * 32)),
        "step 1, checkpoint",
    ),
    "a base that is left out": (lambda s: setattr(s, "order", (2, 3, 4)), "step 4"),
    "half a base": (lambda s: setattr(s, "order", (2, 3, 4, 1)), "expected an announcement"),
    "another kind of entry": (lambda s: setattr(s, "order", (2, 4, 3, 1, 0)), "expected an entry"),
    "nothing but an announcement": (lambda s: setattr(s, "order", (2,) * 3), "step 4"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_ledger_that_cannot_prove_it_changes_nothing(
    device: Personalizer, servers: Servers, name: str
) -> None:
    trust = servers.trust
    lie, text = LIES[name]
    lie(servers)
    _was_erased(device, LabelledRound(servers.digest(servers.second), 1, "dp-bounded"))
    fake: Any = servers
    with pytest.raises(ReleaseRefused, match=text):
        DeviceSession(device, fake, trust).look_after_erasure()
    assert _labels(device) == ["dp-bounded"]


def test_a_retraining_of_another_population_is_refused(
    device: Personalizer, servers: Servers
) -> None:
    device.enrolled("others")
    with pytest.raises(ReleaseRefused, match="another population"):
        _session(device, servers).look_for_retrainings()


def test_a_log_that_shrank_is_found_out(device: Personalizer, servers: Servers) -> None:
    device.enrolled("people")
    servers.publish("task", servers.second)
    _session(device, servers).look_for_retrainings()
    device.facts.remove("retrainings/people")
    shrunk = Servers()
    shrunk.logged = functools.partial(_from_nothing, shrunk.logged)  # type: ignore[method-assign]
    with pytest.raises(RollbackRefused):
        _session(device, shrunk).look_for_retrainings()


def _from_nothing(
    logged: Callable[[int, int], LoggedEntry], index: int, known_size: int
) -> LoggedEntry:
    return logged(index, 0)


def test_receipts_of_before_are_read(device: Personalizer) -> None:
    receipt = device.rights.withdraw("learn")
    document = parse_canonical(receipt.to_bytes())
    del document["retrained"]
    assert RightsReceipt.from_bytes(canonical_json(document)) == dataclasses.replace(
        receipt, retrained=""
    )
