"""The ClientApp's forwarding, over the unix socket of a real gateway; devices that send twice."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit.client import Catalogue, Endpoints, FileKeyProvider, Personalizer, TrustRoots
from tacit.client.session import DeviceSession
from tacit.client.transport import Connection

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what Flower imports
    from flwr.app import ConfigRecord, Message, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    from tacit.server.gateway.flower import (
        CONTRIBUTIONS,
        ERROR,
        RECORD,
        REQUEST,
        SUM,
        TIMEOUT_S,
        forward_round,
    )


@pytest.fixture(autouse=True)
def flower_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a task of Flower's, as its processes are: messages carry the identity."""
    for name in ("run_id", "task_id", "node_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 1)


def message(**values: Any) -> Message:
    made = Message(RecordDict({RECORD: ConfigRecord(values)}), 1, "train")
    made.metadata.__dict__["_message_id"] = "m"
    return made


def forwarded(site: Any, **values: Any) -> Any:
    reply = forward_round(message(**values), site.config.bridge_socket)
    return reply.content.config_records[RECORD]


def test_brings_the_sum_back(site: Any) -> None:
    devices = [site.device() for _ in range(2)]
    request = site.request(site.publish()).SerializeToString()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(forwarded, site, **{REQUEST: request, TIMEOUT_S: 20.0})
        site.until(lambda: len(site.rounds()) == 1)
        for n, device in enumerate(devices):
            site.contribute(device, site.offer(device), 10 + n)
        record = running.result(20)
    assert np.frombuffer(record[SUM], "<i8").tolist() == [21] + [0] * 9
    assert record[CONTRIBUTIONS] == 2
    assert ERROR not in record


def test_brings_a_refusal_back_in_one_line(site: Any) -> None:
    request = site.request(site.publish(), round_id=2).SerializeToString()
    record = forwarded(site, **{REQUEST: request, TIMEOUT_S: 20.0})
    assert record[ERROR].startswith("INVALID_ARGUMENT: the round was refused")
    assert SUM not in record


def test_answers_what_it_cannot_read(site: Any) -> None:
    assert "expected a request" in forwarded(site, **{REQUEST: "text", TIMEOUT_S: 1.0})[ERROR]


def test_does_not_wait_for_a_gateway_that_is_gone(site: Any, tmp_path: Path) -> None:
    request = site.request(site.publish()).SerializeToString()
    sent = message(**{REQUEST: request, TIMEOUT_S: 0.3})
    reply = forward_round(sent, str(tmp_path / "no.sock"))
    record = reply.content.config_records[RECORD]
    assert str(record[ERROR]).startswith("DEADLINE_EXCEEDED")


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue.build((f"i{n}", f"Item {n}", []) for n in range(10))


def test_a_device_killed_after_sending_sends_the_same_and_is_counted_once(
    site: Any, tmp_path: Path, catalogue: Catalogue
) -> None:
    """Determinism on the device and idempotence at the gateway make one contribution."""

    def opened() -> Personalizer:
        return Personalizer.open(
            tmp_path / "device.db", FileKeyProvider(tmp_path / "key"), catalogue
        )

    origin = "test.example"
    trust = TrustRoots(
        f"{origin}/governance",
        f"{origin}/consent",
        site.ledger.node_key.public_key,
        site.coordinator_key.public_key,
    )
    authority = site.ledger.authority.certificate_pem
    endpoints = Endpoints(site.server.address, site.ledger.server.address, authority)
    (token,) = site.ledger.client("operator").create_tokens(site.ledger.population, 1, 2**50)
    other = site.device()
    context = site.context

    def session_of(device: Personalizer, connection: Connection) -> DeviceSession:
        servers = connection.servers(device.facts.identity(), device.clock_ms)
        return DeviceSession(device, servers, trust)

    with Connection(endpoints) as connection:
        with opened() as device:
            for n in (2, 3, 5, 7):
                device.track("Product Viewed", {"product_id": f"i{n}"})
            device.consent("learn", ["product_view"], True)
            session = session_of(device, connection)
            session.enrol(token)
            session.push_consents()
        other.append(other.event(signals=("product_view",)))
        task = site.publish(
            signals={"product_view": 1.0},
            catalogue_sha256=catalogue.digest.hex(),
            z=20.0,
        )
        result = site.open(task)
        sent: list[bytes] = []
        with opened() as device:
            session = session_of(device, connection)
            offer = session.check_in()
            assert offer is not None
            sent.append(session.contribution(offer, context))
            session.contribute(offer, context)
        with opened() as device:  # a new process, and more happened in between
            device.track("Product Viewed", {"product_id": "i1"})
            session = session_of(device, connection)
            sent.append(session.contribution(offer, context))
            session.contribute(offer, context)
            assert session.check_in() is None
            assert session.idle_reason == "this device has contributed to this round"
        site.contribute(other, site.offer(other), 1)
        reply = result.result(20)
    assert sent[0] == sent[1]
    vector = np.frombuffer(sent[0], "<i2").astype(np.int64)
    assert np.count_nonzero(vector) >= 4
    vector[0] += 1
    assert np.frombuffer(reply.sum, "<i8").tolist() == vector.tolist()
    assert reply.contributions == 2
