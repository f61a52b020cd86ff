"""Witnesses and what a device or a verifier demands of them: erasure, and `verify --quorum`."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner

from tacit.cli.ledger import ledger
from tacit.client import (
    Catalogue,
    DeviceSession,
    Endpoints,
    FileKeyProvider,
    Personalizer,
    TrustRoots,
)
from tacit.client.errors import ReceiptRefused
from tacit.client.transport import Connection
from tacit.privacy.cosignature import Quorum, Witness
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import verifier_key
from tacit.server.ledger.contents import read_node
from tacit.server.ledger.export import write_export
from tacit.server.witness import WitnessConfig, WitnessServer

ORIGINS = ("test.example/governance", "test.example/consent")


class Witnesses:
    """Two of them, over plain HTTP on loopback."""

    def __init__(self, folder: pathlib.Path, ledger_key: bytes) -> None:
        self._configs: list[WitnessConfig] = []
        self.servers: list[WitnessServer] = []
        for number in range(2):
            home = folder / f"witness-{number}"
            home.mkdir()
            (home / "key").write_text(bytes([number + 1] * 32).hex(), encoding="ascii")
            self._configs.append(
                WitnessConfig(
                    name=f"witness.example/w{number}",
                    address="127.0.0.1:0",
                    state_file=str(home / "state.sqlite"),
                    signing_key=str(home / "key"),
                    logs=[verifier_key(origin, ledger_key) for origin in ORIGINS],
                    tls_certificate="",
                    tls_key="",
                )
            )
            self.start(number)

    def start(self, number: int) -> None:
        server = WitnessServer(self._configs[number])
        server.start()
        self.servers[number : number + 1] = [server]

    @property
    def keys(self) -> tuple[Witness, ...]:
        return tuple(one.node.witness for one in self.servers)

    def document(self) -> list[dict[str, str]]:
        return [{"key": one.node.witness.verifier_key, "url": one.url} for one in self.servers]


@pytest.fixture
def witnesses(deployment: Any, tmp_path: pathlib.Path) -> Generator[Witnesses]:
    two = Witnesses(tmp_path, deployment.node_key.public_key)
    deployment.write_config(witnesses=two.document())
    yield two
    deployment.stop()
    for one in two.servers:
        one.stop()


@pytest.fixture
def device(tmp_path: pathlib.Path) -> Generator[Personalizer]:
    catalogue = Catalogue.build([("i1", "Item 1", [])])
    keys = FileKeyProvider(tmp_path / "keys")
    with Personalizer.open(tmp_path / "device.db", keys, catalogue) as opened:
        yield opened


@contextmanager
def session(deployment: Any, device: Personalizer, quorum: Quorum) -> Generator[DeviceSession]:
    address = deployment.server.address
    trust = TrustRoots(
        *ORIGINS,
        deployment.node_key.public_key,
        deployment.keys["coordinator"].public_key,
        witnesses=quorum,
    )
    endpoints = Endpoints(address, address, deployment.authority.certificate_pem)
    with Connection(endpoints) as connection:
        servers = connection.servers(device.facts.identity(), device.clock_ms)
        yield DeviceSession(device, servers, trust)


def enrol_and_agree(deployment: Any, device: Personalizer, quorum: Quorum) -> None:
    expires_ms = time.time_ns() // 1_000_000 + 600_000
    (token,) = deployment.client("operator").create_tokens("shop", 1, expires_ms)
    with session(deployment, device, quorum) as first:
        first.enrol(token)
        device.consent("learn", ["product_view"], True)
        assert first.push_consents() == 1


def test_an_erasure_that_too_few_witnesses_saw_stays_pending(
    deployment: Any, witnesses: Witnesses, device: Personalizer
) -> None:
    quorum = Quorum(witnesses.keys, 2)
    enrol_and_agree(deployment, device, quorum)
    device.rights.erase()
    stranger = Witness("witness.example/w9", SigningKey(b"\7" * 32).public_key)
    with session(deployment, device, Quorum((*witnesses.keys, stranger), 3)) as strict:
        for _ in range(2):
            with pytest.raises(ReceiptRefused, match="at least 3 of 3"):
                strict.finish_erasure()
            assert device.rights.erasure_pending
    # The ledger has erased; asked again, it states so anew, now to who demands what there is.
    assert deployment.client("gateway").consent_states("learn") == []
    with session(deployment, device, quorum) as second:
        assert second.finish_erasure()
    assert not device.rights.erasure_pending


def test_a_witness_that_was_away_is_waited_for(
    deployment: Any, witnesses: Witnesses, device: Personalizer
) -> None:
    quorum = Quorum(witnesses.keys, 2)
    enrol_and_agree(deployment, device, quorum)
    device.rights.erase()
    witnesses.servers[1].stop()
    refused = pytest.raises(ReceiptRefused, match="at least 2 of 2")
    with session(deployment, device, quorum) as first, refused:
        first.finish_erasure()
    assert device.rights.erasure_pending
    witnesses.start(1)
    deployment.stop()
    deployment.write_config(witnesses=witnesses.document())  # it has another port now
    with session(deployment, device, quorum) as second:
        assert second.finish_erasure()
    assert not device.rights.erasure_pending


def verify(export: pathlib.Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(ledger, ["verify", str(export), *options])
    return result.exit_code, result.output


def test_verify_demands_a_quorum_of_the_newest_checkpoint(
    deployment: Any, witnesses: Witnesses, tmp_path: pathlib.Path
) -> None:
    person = deployment.device()
    person.append(person.event())
    deployment.open_account()
    deployment.stop()
    write_export(read_node(deployment.config), tmp_path / "seen")
    both = [part for one in witnesses.keys for part in ("--witness", one.verifier_key)]
    assert verify(tmp_path / "seen", *both, "--quorum", "2")[0] == 0
    assert json.loads(verify(tmp_path / "seen", *both, "--quorum", "2", "--json")[1])["ok"]

    # One of them is away for the last entries: one cosignature is there, two are not.
    witnesses.servers[1].stop()
    deployment.start()
    person.stub = deployment.stub()
    person.append(person.event("withdrawn"))
    deployment.stop()
    witnesses.start(1)
    write_export(read_node(deployment.config), tmp_path / "half")
    assert verify(tmp_path / "half", *both, "--quorum", "1")[0] == 0
    code, said = verify(tmp_path / "half", *both, "--quorum", "2")
    assert code == 1
    assert "consent log: 2 of 2 witnesses saw 1 of its 2 entries" in said

    # Cosignatures that were struck from the newest checkpoint, or forged, do not count.
    for path in (tmp_path / "seen" / "consent").iterdir():
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            name = witnesses.keys[0].name
            path.write_text(text.replace(f"— {name} ", "— witness.example/w9 "), encoding="utf-8")
    code, said = verify(tmp_path / "seen", *both, "--quorum", "2")
    assert code == 1
    assert "witnesses saw 0 of its 1 entries" in said
