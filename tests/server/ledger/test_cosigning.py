"""A real ledger node and real witnesses: what is published is cosigned, and a rollback shows."""

from __future__ import annotations

import pathlib
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tacit.privacy.cosignature import Quorum, Witness, verify_witnessed, witnesses_of
from tacit.privacy.errors import BadSignature
from tacit.privacy.merkle import leaf_hash, verify_inclusion
from tacit.privacy.receipt import Receipt, verify_receipt
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import verifier_key
from tacit.server import tls
from tacit.server.errors import BadConfig, LogRolledBack, VerificationFailed
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.node import LedgerNode
from tacit.server.ledger.verify import verify_export
from tacit.server.witness import WitnessConfig, WitnessServer
from tacit.v1 import ledger_pb2

GOVERNANCE, CONSENT = "test.example/governance", "test.example/consent"


class Witnesses:
    """Three of them, in folders of their own, that watch one deployment's logs."""

    def __init__(self, folder: pathlib.Path, ledger_key: bytes, authority: tls.Authority) -> None:
        self.servers: list[WitnessServer] = []
        self._configs: list[WitnessConfig] = []
        for number in range(3):
            home = folder / f"witness-{number}"
            home.mkdir()
            (home / "key").write_text(bytes([number + 1] * 32).hex(), encoding="ascii")
            certificate = tls.issue(authority, ["127.0.0.1"])
            certificate.write(home / "tls.pem", home / "tls.key")
            self._configs.append(
                WitnessConfig(
                    name=f"witness.example/w{number}",
                    address="127.0.0.1:0",
                    state_file=str(home / "state.sqlite"),
                    signing_key=str(home / "key"),
                    logs=[verifier_key(origin, ledger_key) for origin in (GOVERNANCE, CONSENT)],
                    # The first speaks TLS, the others need not.
                    tls_certificate="" if number else str(home / "tls.pem"),
                    tls_key="" if number else str(home / "tls.key"),
                )
            )
            self.start(number)
        ca = folder / "witness-ca.pem"
        ca.write_bytes(authority.certificate_pem)
        self.ca = str(ca)

    def start(self, number: int) -> None:
        server = WitnessServer(self._configs[number])
        server.start()
        self.servers[number : number + 1] = [server]

    @property
    def keys(self) -> tuple[Witness, ...]:
        return tuple(one.node.witness for one in self.servers)

    def document(self) -> list[dict[str, str]]:
        return [
            {"key": one.node.witness.verifier_key, "url": one.url}
            | ({"ca": self.ca} if one.url.startswith("https") else {})
            for one in self.servers
        ]

    def stop(self) -> None:
        for one in self.servers:
            one.stop()


@pytest.fixture
def witnesses(deployment: Any, tmp_path: pathlib.Path) -> Iterator[Witnesses]:
    three = Witnesses(tmp_path, deployment.node_key.public_key, deployment.authority)
    deployment.write_config(witnesses=three.document())
    yield three
    deployment.stop()
    three.stop()


def receipt_of(reply: Any) -> Receipt:
    return Receipt(
        reply.commitment_key,
        reply.index,
        tuple(reply.inclusion),
        reply.checkpoint,
        tuple(reply.consistency),
    )


def test_everything_published_carries_a_quorum(deployment: Any, witnesses: Witnesses) -> None:
    deployment.run_task()
    client, key = deployment.client("gateway"), deployment.node_key.public_key
    quorum = Quorum(witnesses.keys, 3)
    seen = verify_witnessed(
        client.checkpoint(ledger_pb2.LOG_GOVERNANCE).checkpoint, GOVERNANCE, GOVERNANCE, key, quorum
    )
    assert seen.size == len(client.entries())
    for index, entry in enumerate(client.entries()):
        logged = client.logged_entry(index, known_size=2)
        seen = verify_witnessed(logged.checkpoint, GOVERNANCE, GOVERNANCE, key, quorum)
        verify_inclusion(leaf_hash(entry), index, seen.size, logged.inclusion, seen.root)
    device = deployment.device()
    event = device.event()
    reply = device.append(event)
    receipt = receipt_of(reply)
    data = event.to_bytes()
    verify_receipt(
        receipt,
        data,
        device.key.sign("consent", data),
        origin=CONSENT,
        name=CONSENT,
        ledger_key=key,
        witnesses=quorum,
    )
    size = len(reply.SerializeToString())
    assert size <= 2048, f"receipt of {size} bytes"
    # What was cosigned is kept, and the offline verifier reads past it.
    deployment.stop()
    report = verify_export(deployment.state_dir, key, witnesses=quorum)
    assert report.checkpoints == report.governance_size + report.consent_size
    assert set(report.witnesses) == {one.name for one in witnesses.keys}
    assert min(report.witnesses.values()) >= 2
    stranger = Quorum((Witness("witness.example/w9", SigningKey(b"\7" * 32).public_key),), 1)
    with pytest.raises(VerificationFailed, match="1 of 1 witnesses saw 0 of its"):
        verify_export(deployment.state_dir, key, witnesses=stranger)


def test_a_witness_that_is_away_costs_its_cosignature_only(
    deployment: Any, witnesses: Witnesses
) -> None:
    witnesses.servers[2].stop()
    key = deployment.node_key.public_key
    try:
        deployment.open_account()
        note = deployment.client("gateway").checkpoint(ledger_pb2.LOG_GOVERNANCE).checkpoint
        assert set(witnesses_of(note, witnesses.keys)) == {
            "witness.example/w0",
            "witness.example/w1",
        }
        verify_witnessed(note, GOVERNANCE, GOVERNANCE, key, Quorum(witnesses.keys, 2))
        with pytest.raises(BadSignature, match="at least 3 of 3"):
            verify_witnessed(note, GOVERNANCE, GOVERNANCE, key, Quorum(witnesses.keys, 3))
    finally:
        witnesses.start(2)


def test_a_restored_old_state_does_not_start(
    deployment: Any, witnesses: Witnesses, tmp_path: pathlib.Path
) -> None:
    deployment.open_account()
    deployment.client("gateway").checkpoint(ledger_pb2.LOG_GOVERNANCE)
    deployment.stop()
    backup = tmp_path / "backup"
    shutil.copytree(deployment.state_dir, backup)
    # It goes on: one more entry, cosigned, as a spend would be.
    deployment.start()
    deployment.client("operator").append_governance(
        "account", deployment.account(account_id="other", population="elsewhere").to_json()
    )
    deployment.client("gateway").checkpoint(ledger_pb2.LOG_GOVERNANCE)
    deployment.stop()
    shutil.rmtree(deployment.state_dir)
    shutil.copytree(backup, deployment.state_dir)
    # What a node keeps on this machine may have been restored too; witnesses were not.
    for kept in tmp_path.rglob("*.anchor"):
        shutil.rmtree(kept, ignore_errors=True)
    with pytest.raises(LogRolledBack, match="rolled back"):
        LedgerNode(LedgerConfig.load(deployment.config_path))


def test_many_receipts_at_once_are_all_cosigned(deployment: Any, witnesses: Witnesses) -> None:
    stub = deployment.stub()
    devices = [deployment.device(stub) for _ in range(8)]
    quorum, key = Quorum(witnesses.keys, 3), deployment.node_key.public_key
    barrier = threading.Barrier(len(devices))

    def consent(device: Any) -> int:
        barrier.wait()
        for _ in range(4):
            event = device.event()
            receipt = receipt_of(device.append(event))
            data = event.to_bytes()
            verify_receipt(
                receipt,
                data,
                device.key.sign("consent", data),
                origin=CONSENT,
                name=CONSENT,
                ledger_key=key,
                witnesses=quorum,
            )
        return 4

    with ThreadPoolExecutor(len(devices)) as pool:
        assert sum(pool.map(consent, devices)) == 32


def test_witnesses_that_cannot_be_used_are_refused(deployment: Any, witnesses: Witnesses) -> None:
    good = witnesses.document()[1]
    stranger = Witness("witness.example/w1", SigningKey(b"\7" * 32).public_key)
    unusable: list[Any] = [
        {},
        [7],
        [{"key": good["key"]}],
        [good | {"more": "x"}],
        [good | {"key": good["key"][:-3]}],
        [good | {"url": "ftp://127.0.0.1:1"}],
        [good | {"url": "http://127.0.0.1:port"}],
        [good | {"ca": "/nowhere.pem"}],
        [good, good],
    ]
    for bad in unusable:
        with pytest.raises(BadConfig):
            LedgerConfig.load(deployment.write_config(witnesses=bad))
    # A witness that answers with another key than the configured one has not cosigned.
    deployment.write_config(witnesses=[good | {"key": stranger.verifier_key}])
    deployment.open_account()
    note = deployment.client("gateway").checkpoint(ledger_pb2.LOG_GOVERNANCE).checkpoint
    assert witnesses_of(note, (*witnesses.keys, stranger)) == {}
