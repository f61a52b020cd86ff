from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tacit.privacy.checkpoint import verify_checkpoint
from tacit.privacy.consent_map import MapEpoch, blinding_key, map_key, map_value
from tacit.privacy.errors import BadProof
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import leaf_hash, verify_inclusion
from tacit.privacy.receipt import leaf
from tacit.privacy.state_map import verify_absence, verify_value
from tacit.server.errors import BadConfig, StateCorrupt, VerificationFailed
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.contents import read_node
from tacit.server.ledger.export import write_export
from tacit.server.ledger.verify import verify_export
from tacit.v1 import ledger_pb2

GOVERNANCE = "test.example/governance"


def refusal(call: Any, *arguments: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments)
    error: Any = raised.value
    return error.code(), error.details()


class Person:
    """A device that keeps its receipts, and knows from them where it stands in the map."""

    def __init__(self, deployment: Any) -> None:
        self.deployment = deployment
        self.device = deployment.device()
        self.receipts: list[Any] = []

    def say(self, state: str = "given", **changes: Any) -> None:
        event = self.device.event(state, **changes)
        receipt = self.device.append(event)
        self.receipts.append((event, receipt))

    @property
    def blinding(self) -> bytes:
        return blinding_key(self.receipts[0][1].commitment_key)

    def value(self, number: int) -> bytes:
        event, receipt = self.receipts[number]
        data = event.to_bytes()
        signature = self.device.key.sign("consent", data)
        return map_value(
            self.blinding, receipt.index, leaf(data, signature, receipt.commitment_key)
        )

    def ask(self, covering: int = 0) -> tuple[MapEpoch, dict[str, bytes]]:
        """Return the newest epoch, its entry verified, and the proof for each purpose."""
        purposes = ("decide", "learn", "measure")
        keys = [map_key(self.blinding, purpose) for purpose in purposes]
        reply = self.device.state_proof(covering, *keys)
        key = self.deployment.node_key
        seen = verify_checkpoint(reply.epoch.checkpoint, GOVERNANCE, GOVERNANCE, key.public_key)
        verify_inclusion(
            leaf_hash(reply.epoch.entry),
            reply.epoch.index,
            seen.size,
            list(reply.epoch.inclusion),
            seen.root,
        )
        entry = GovernanceEntry.parse(reply.epoch.entry)
        entry.verify(key.public_key, key.key_id)
        return MapEpoch.from_json(entry.body), dict(zip(purposes, reply.proofs, strict=True))


def test_an_epoch_is_published_on_demand_and_says_the_latest_decision(deployment: Any) -> None:
    person, other = Person(deployment), Person(deployment)
    assert not person.device.state_proof().HasField("epoch")
    person.say()
    other.say()
    person.say("withdrawn")
    epoch, proofs = person.ask(covering=3)
    root = bytes.fromhex(epoch.map_root)
    assert (epoch.epoch, epoch.consent_size) == (1, 3)
    learn = map_key(person.blinding, "learn")
    verify_value(root, learn, person.value(1), proofs["learn"])
    with pytest.raises(BadProof):
        verify_value(root, learn, person.value(0), proofs["learn"])  # the replayed grant
    verify_absence(root, map_key(person.blinding, "measure"), proofs["measure"])
    assert other.ask()[0] == epoch
    person.say(purpose="measure")
    assert person.ask()[0] == epoch  # nothing asks for what came since
    later, proofs = person.ask(covering=4)
    assert (later.epoch, later.consent_size) == (2, 4)
    root = bytes.fromhex(later.map_root)
    verify_value(root, map_key(person.blinding, "measure"), person.value(2), proofs["measure"])
    verify_value(root, learn, person.value(1), proofs["learn"])
    verify_value(root, map_key(other.blinding, "learn"), other.value(0), other.ask()[1]["learn"])
    assert other.blinding not in {person.blinding}
    assert person.ask(covering=4)[0] == later  # asking again publishes nothing


def test_what_cannot_be_asked(deployment: Any) -> None:
    person = Person(deployment)
    person.say()
    for covering, keys in ((2, ()), (0, (b"short",)), (0, (b"k" * 32,) * 9)):
        code, _ = refusal(person.device.state_proof, covering, *keys)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    request = person.device.sealed(ledger_pb2.GetStateProofRequest(), "GetConsentStates")
    code, _ = refusal(person.device.stub.GetStateProof, request)
    assert code is grpc.StatusCode.UNAUTHENTICATED


def test_the_gateway_is_told_the_epoch(deployment: Any) -> None:
    person, gateway = Person(deployment), deployment.client("gateway")
    person.say()
    assert gateway.consent_states("learn")[0].map_epoch == 0
    person.ask(covering=1)
    assert gateway.consent_states("learn")[0].map_epoch == 1


def test_a_period_publishes_without_being_asked(deployment: Any) -> None:
    deployment.write_config(map_period_s=0.05)
    person = Person(deployment)
    person.say()
    deadline_s = time.monotonic() + 20
    while not person.device.state_proof().HasField("epoch"):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert person.ask()[0].consent_size == 1
    position = len(deployment.client("operator").entries())
    time.sleep(0.3)
    assert len(deployment.client("operator").entries()) == position  # nothing changed


def no_space() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("decided_meanwhile", [False, True])
def test_an_epoch_that_could_not_be_anchored_is_taken_up_without_a_restart(
    deployment: Any, monkeypatch: pytest.MonkeyPatch, decided_meanwhile: bool
) -> None:
    person = Person(deployment)
    person.say()
    assert person.ask(covering=1)[0].epoch == 1
    person.say("withdrawn")
    with monkeypatch.context() as full:
        full.setattr(deployment.node.anchor, "save", no_space)
        for _ in range(2):
            code, _ = refusal(person.device.state_proof, 2)
            assert code is grpc.StatusCode.UNKNOWN
            assert deployment.node.consent_map.epoch == 1  # nothing unanchored is answered
    if decided_meanwhile:
        person.say()
    size = len(person.receipts)
    epoch, proofs = person.ask(covering=size)
    assert (epoch.epoch, epoch.consent_size) == ((3, 3) if decided_meanwhile else (2, 2))
    root = bytes.fromhex(epoch.map_root)
    learn = map_key(person.blinding, "learn")
    verify_value(root, learn, person.value(size - 1), proofs["learn"])
    person.say(purpose="measure")
    assert person.ask(covering=size + 1)[0].epoch == epoch.epoch + 1
    assert deployment.verify().map_root_rederived


def test_the_publisher_outlives_a_failed_anchor_and_says_so(
    deployment: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    deployment.write_config(map_period_s=0.05)
    person = Person(deployment)
    with monkeypatch.context() as full, caplog.at_level("WARNING", "tacit.ledger"):
        full.setattr(deployment.node.anchor, "save", no_space)
        monkeypatch.setattr(deployment.node.anchor, "_written_at_s", time.monotonic())
        person.say()
        deadline_s = time.monotonic() + 20
        while "no epoch of the consent map: OSError" not in caplog.text:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
    while deployment.node.consent_map.epoch < 1:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert person.ask()[0].consent_size == 1


@pytest.mark.parametrize("period", [0, -1, True, "60", float("inf")])
def test_a_period_that_is_none_is_refused(deployment: Any, period: Any) -> None:
    with pytest.raises(BadConfig, match="map_period_s"):
        LedgerConfig.load(deployment.write_config(map_period_s=period))


def test_it_survives_a_restart_with_and_without_later_decisions(deployment: Any) -> None:
    person = Person(deployment)
    person.say()
    first = person.ask(covering=1)
    deployment.stop()
    person.device.stub = deployment.stub()
    assert person.ask() == first
    person.say("withdrawn")
    deployment.stop()
    person.device.stub = deployment.stub()
    epoch, proofs = person.ask()
    assert (epoch.epoch, epoch.consent_size) == (2, 2)
    root = bytes.fromhex(epoch.map_root)
    verify_value(root, map_key(person.blinding, "learn"), person.value(1), proofs["learn"])


def test_decisions_from_before_there_was_a_map_enter_it(deployment: Any) -> None:
    person = Person(deployment)
    person.say()
    person.say("withdrawn")
    person.say(purpose="measure")
    deployment.stop()
    for table in ("map_entries", "map_removals", "map_epochs"):
        deployment.execute(f"DROP TABLE {table}")
    person.device.stub = deployment.stub()
    epoch, proofs = person.ask()
    root = bytes.fromhex(epoch.map_root)
    verify_value(root, map_key(person.blinding, "learn"), person.value(1), proofs["learn"])
    verify_value(root, map_key(person.blinding, "measure"), person.value(2), proofs["measure"])


def test_a_map_that_was_edited_is_not_served(deployment: Any) -> None:
    person = Person(deployment)
    person.say()
    person.ask(covering=1)
    deployment.stop()
    deployment.execute(f"UPDATE map_entries SET value = x'{os.urandom(32).hex()}'")
    with pytest.raises(StateCorrupt, match="table map_entries, entry "):
        deployment.start()


class TestVerification:
    def test_epochs_are_checked_and_the_newest_is_rederived_where_it_can_be(
        self, deployment: Any, tmp_path: Path
    ) -> None:
        person = Person(deployment)
        person.say()
        person.ask(covering=1)
        person.say("withdrawn")
        person.ask(covering=2)
        report = deployment.verify(ledger_key=deployment.node_key.public_key)
        assert (report.map_epochs, report.map_root_rederived) == (2, True)
        assert report.map_root == person.ask()[0].map_root
        write_export(read_node(deployment.config), tmp_path / "export")
        exported = verify_export(tmp_path / "export", deployment.node_key.public_key)
        assert (exported.map_epochs, exported.map_root_rederived) == (2, False)
        assert exported.map_root == report.map_root
        person.say()
        assert not deployment.verify().map_root_rederived
        for content in (p.read_bytes() for p in (tmp_path / "export").rglob("*") if p.is_file()):
            assert map_key(person.blinding, "learn") not in content
            assert map_key(person.blinding, "learn").hex().encode() not in content

    def test_false_epochs_are_found(self, deployment: Any) -> None:
        from tacit.server.ledger.replay import replay_governance

        person = Person(deployment)
        person.say()
        person.ask(covering=1)
        keys = _keys(deployment)
        good = deployment.client("operator").entries()
        accountant = deployment.node.accountant

        def findings(*bodies: MapEpoch, key: Any = deployment.node_key) -> list[str]:
            entries = [
                GovernanceEntry.sign("consent.map", body.to_json(), 0, key).to_bytes()
                for body in bodies
            ]
            return replay_governance([*good, *entries], keys, accountant).findings

        root = "ab" * 32
        assert findings(MapEpoch(2, 2, root, root)) == []
        assert "expected map epoch 2, got 3" in findings(MapEpoch(3, 2, root, root))[0]
        assert "more than 1 leaves" in findings(MapEpoch(2, 1, root, root))[0]
        by_operator = findings(MapEpoch(2, 2, root, root), key=deployment.keys["operator"])
        assert "needs ledger" in by_operator[0]

    def test_an_edited_root_is_found(self, deployment: Any) -> None:
        person = Person(deployment)
        person.say()
        person.ask(covering=1)
        deployment.stop()
        deployment.execute("DELETE FROM map_entries")
        with pytest.raises(VerificationFailed, match="its entries give another root"):
            deployment.verify()


def _keys(deployment: Any) -> Any:
    return read_node(deployment.config).keys
