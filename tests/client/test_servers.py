"""Devices against the real ledger and gateway, over gRPC and TLS on loopback."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tacit.client import (
    Catalogue,
    DeviceSession,
    Endpoints,
    FileKeyProvider,
    NotEnrolled,
    Personalizer,
    Rejected,
    TransportError,
    TrustRoots,
)
from tacit.client.consent_record import verify_record
from tacit.client.sync import run
from tacit.client.transport import Connection
from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.budget_documents import AccountDocument, ReserveDocument
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.erasure import ErasureStatement
from tacit.privacy.errors import PrivacyError
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundHeader, RoundPlan, TaskManifest
from tacit.server import tls
from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.server import GatewayServer
from tacit.server.ledger.client import LedgerClient
from tacit.server.ledger.config import LedgerConfig, Principal
from tacit.server.ledger.serving import LedgerServer
from tacit.v1 import gateway_pb2, gateway_pb2_grpc

POPULATION, N_ITEMS, DELTA = "people", 30, 1e-3
HOUR_MS = 3_600_000
pytestmark = pytest.mark.timeout(120)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _catalogue() -> Catalogue:
    return Catalogue.build((f"i{n}", f"Item {n}", []) for n in range(N_ITEMS))


@dataclass
class Deployment:
    ledger: LedgerServer
    operator: LedgerClient
    coordinator: LedgerClient
    coordinator_key: SigningKey
    bridge: gateway_pb2_grpc.GatewayServiceStub
    endpoints: Endpoints
    trust: TrustRoots
    context: bytes

    def token(self) -> str:
        return self.operator.create_tokens(POPULATION, 1, _now_ms() + HOUR_MS)[0]

    def publish_task(self, task_id: str, *, cohort_min: int = 2) -> tuple[TaskManifest, int]:
        plan = RoundPlan(1, "popularity/1", N_ITEMS, 1.0, 4096, 2.0, {})
        manifest = TaskManifest(
            task_id=task_id,
            population=POPULATION,
            purpose="learn",
            learner="popularity/1",
            signals={"product_view": 1.0},
            rounds=(plan,),
            trust_level="central",
            cohort_min=cohort_min,
            cohort_max=10,
            cohort_expected=5,
            participation_bound=1,
            unit="user",
            neighboring_relation="add_remove",
            epsilon=round(epsilon_bound([GaussianEvent(2.0)], DELTA) + 1e-6, 6),
            target_delta=DELTA,
            budget_account="account",
            catalogue_sha256=_catalogue().digest.hex(),
            issued_at_ms=_now_ms(),
            expires_at_ms=_now_ms() + HOUR_MS,
            base_release=0,
        )
        return manifest, self.coordinator.append_governance("task", manifest.to_json())

    def run_round(
        self, manifest: TaskManifest, index: int, timeout_s: float = 30.0
    ) -> gateway_pb2.RunRoundReply:
        header = RoundHeader(
            task_sha256=manifest.digest().hex(),
            round_id=1,
            context_sha256=hashlib.sha256(self.context).hexdigest(),
            opened_at_ms=_now_ms(),
            closes_at_ms=_now_ms() + int(timeout_s * 1000),
        ).to_bytes()
        return self.bridge.RunRound(
            gateway_pb2.RunRoundRequest(
                task=self.coordinator.logged_entry(index, 0),
                round_header=header,
                round_signature=self.coordinator_key.sign("round", header),
                context=self.context,
            )
        )

    def publish_release(self, manifest: TaskManifest) -> None:
        plan = manifest.rounds[0]
        event = GaussianEvent(plan.noise_multiplier)
        self.coordinator.reserve(
            ReserveDocument(
                reservation_id="reservation",
                account_id="account",
                purpose="learn",
                idempotency_key="key",
                task_sha256=manifest.digest().hex(),
                round_id=1,
                context_sha256=hashlib.sha256(self.context).hexdigest(),
                event=event,
            )
        )
        self.coordinator.commit("account", "reservation", "0" * 64)
        popularity = np.arange(1.0, N_ITEMS + 1) / 465
        blob = pack_arrays(
            {
                "popularity": popularity,
                "loadings": np.ones((N_ITEMS, 1)) * 0.001,
                "prior_variance": np.ones(1),
                "item_variance": popularity,
            }
        )
        digest = self.coordinator.put_blob(blob)
        spent = float(self.coordinator.show_budget("account").epsilon_spent)
        release = ReleaseManifest(
            population=POPULATION,
            version=1,
            task_sha256=manifest.digest().hex(),
            model_sha256=digest.hex(),
            model_bytes=len(blob),
            catalogue_sha256=manifest.catalogue_sha256,
            reservations=("reservation",),
            epsilon=spent,
            target_delta=DELTA,
            created_at_ms=_now_ms(),
        )
        self.coordinator.append_governance("release", release.to_json())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("d")
    keys = {name: SigningKey.generate(_bytes) for name in ("ledger", "op", "gw", "coord")}
    for name, key in keys.items():
        (home / f"{name}.key").write_text(key.private_bytes().hex())
    authority = tls.make_authority()
    (home / "ca.pem").write_bytes(authority.certificate_pem)
    tls.issue(authority, ["127.0.0.1"]).write(home / "server.pem", home / "server.key")
    ledger = LedgerServer(
        LedgerConfig(
            state_dir=home / "ledger",
            address="127.0.0.1:0",
            tls_certificate=home / "server.pem",
            tls_key=home / "server.key",
            signing_key=home / "ledger.key",
            origin="t.example",
            principals=tuple(
                Principal(name, role, keys[name].public_key)
                for name, role in (("op", "operator"), ("gw", "gateway"), ("coord", "coordinator"))
            ),
        )
    )
    ledger.start()
    gateway_address = f"127.0.0.1:{_free_port()}"
    gateway = GatewayServer(
        GatewayConfig(
            population=POPULATION,
            address=gateway_address,
            bridge_socket=str(home / "b.sock"),
            tls_certificate=str(home / "server.pem"),
            tls_key=str(home / "server.key"),
            ledger_address=ledger.address,
            ledger_ca=str(home / "ca.pem"),
            signing_key=str(home / "gw.key"),
            coordinator_key=keys["coord"].public_key.hex(),
            quiet_s=20.0,
        )
    )
    gateway.start()
    ca_pem = authority.certificate_pem
    channel = grpc.insecure_channel(f"unix:{home / 'b.sock'}")
    operator = LedgerClient(ledger.address, ca_pem, keys["op"])
    coordinator = LedgerClient(ledger.address, ca_pem, keys["coord"])
    account = AccountDocument("account", POPULATION, 50.0, DELTA, {"learn": 50.0})
    operator.append_governance("account", account.to_json())
    try:
        yield Deployment(
            ledger=ledger,
            operator=operator,
            coordinator=coordinator,
            coordinator_key=keys["coord"],
            bridge=gateway_pb2_grpc.GatewayServiceStub(channel),
            endpoints=Endpoints(gateway_address, ledger.address, ca_pem),
            trust=TrustRoots(
                "t.example/governance",
                "t.example/consent",
                keys["ledger"].public_key,
                keys["coord"].public_key,
            ),
            context=pack_arrays({"unused": np.zeros(1)}),
        )
    finally:
        channel.close()
        operator.close()
        coordinator.close()
        gateway.stop()
        ledger.stop()


def _bytes(n: int) -> bytes:
    return np.random.default_rng().bytes(n)


def _open(folder: Path, name: str, **options: Any) -> Personalizer:
    return Personalizer.open(
        folder / f"{name}.db", FileKeyProvider(folder / "keys"), _catalogue(), **options
    )


def _until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_devices_take_part_withdraw_and_install(deployment: Deployment, tmp_path: Path) -> None:
    deployment_task, index = deployment.publish_task("together")
    devices = [_open(tmp_path, f"d{n}") for n in range(3)]
    connection = Connection(deployment.endpoints)
    sessions = [
        DeviceSession(d, connection.servers(d.facts.identity(), d.clock_ms), deployment.trust)
        for d in devices
    ]
    with connection, devices[0], devices[1], devices[2]:
        for n, (device, session) in enumerate(zip(devices, sessions, strict=True)):
            device.track("Product Viewed", {"product_id": f"i{n}"})
            device.consent("learn", ["product_view"], True)
            assert session.enrol(deployment.token()) == POPULATION
            assert session.push_consents() == 1
        assert sessions[0].check_in() is None
        assert sessions[0].idle_reason
        # One device thinks again: the withdrawal holds before the round is offered.
        devices[2].consent("learn", None, False)
        assert sessions[2].push_consents() == 1
        with ThreadPoolExecutor(1) as pool:
            round_run = pool.submit(deployment.run_round, deployment_task, index)
            _until(
                lambda: (
                    deployment.bridge.GatewayStatus(gateway_pb2.GatewayStatusRequest()).rounds[-1:]
                    != []
                )
            )
            vectors: list[np.ndarray[Any, Any]] = []
            for session in sessions[:2]:
                offer = session.check_in()
                assert offer is not None
                values = session.contribution(offer, session.fetch_context(offer))
                vectors.append(np.frombuffer(values, "<i2").astype(np.int64))
                session.contribute(offer)
            reply = round_run.result(timeout=30)
        assert sessions[2].check_in() is None
        assert reply.contributions == 2
        np.testing.assert_array_equal(np.frombuffer(reply.sum, "<i8"), vectors[0] + vectors[1])
        assert sessions[0].traffic.sent_bytes > 2 * 2 * N_ITEMS
        assert sessions[0].traffic.received_bytes > 0
        deployment.publish_release(deployment_task)
        for device, session in zip(devices, sessions, strict=True):
            assert session.pull_release() == 1
            assert session.pull_release() is None
            assert session.pull_release("churn") is None, "the ranking is not given for it"
            assert device.recommend().model_version == 1
        assert (devices[0].state().epsilon or 0.0) > 0
        assert devices[2].state().epsilon == 0
        # A round once more through the facade: nothing is open, everything is known.
        report = devices[1].sync(deployment.endpoints, deployment.trust)
        assert (report.consents_sent, report.task_id, report.installed_version) == (0, None, None)
        assert report.idle_reason == "no round is open"
        assert report.sent_bytes > 0


def test_a_token_works_once(deployment: Deployment, tmp_path: Path) -> None:
    token = deployment.token()
    with (
        Connection(deployment.endpoints) as connection,
        _open(tmp_path, "first") as first,
        _open(tmp_path, "second") as second,
    ):
        for device, accepted in ((first, True), (second, False)):
            servers = connection.servers(device.facts.identity(), device.clock_ms)
            session = DeviceSession(device, servers, deployment.trust)
            if accepted:
                session.enrol(token)
            else:
                with pytest.raises(Rejected):
                    session.enrol(token)
                assert device.population is None
                with pytest.raises(NotEnrolled):
                    run(device, session)


def test_a_wrong_key_or_clock_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    with Connection(deployment.endpoints) as connection, _open(tmp_path, "d") as device:
        session = DeviceSession(
            device, connection.servers(device.facts.identity(), device.clock_ms), deployment.trust
        )
        session.enrol(deployment.token())
        stranger = SigningKey.generate(_bytes)
        for key, clock in (
            (stranger, _now_ms),
            (device.facts.identity(), lambda: _now_ms() - HOUR_MS),
        ):
            servers = connection.servers(key, clock)
            with pytest.raises(Rejected) as caught:
                DeviceSession(device, servers, deployment.trust).check_in()
            assert caught.value.code == "UNAUTHENTICATED"
        assert session.check_in() is None


def test_a_blob_larger_than_expected_is_not_taken(deployment: Deployment, tmp_path: Path) -> None:
    content = bytes(3 << 20)
    digest = deployment.coordinator.put_blob(content)
    with Connection(deployment.endpoints) as connection, _open(tmp_path, "d") as device:
        servers = connection.servers(device.facts.identity(), device.clock_ms)
        assert servers.fetch_blob(digest, len(content)) == content
        assert servers.traffic.received_bytes == len(content)
        with pytest.raises(TransportError, match="got more"):
            servers.fetch_blob(digest, len(content) - 1)


def test_a_server_of_another_authority_is_not_spoken_to(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.client.transport.ATTEMPTS", 2)
    other = tls.make_authority().certificate_pem
    endpoints = Endpoints(deployment.endpoints.gateway, deployment.endpoints.ledger, other)
    with Connection(endpoints) as connection, _open(tmp_path, "d") as device:
        servers = connection.servers(device.facts.identity(), device.clock_ms)
        with pytest.raises(TransportError, match="after 2 attempts"):
            DeviceSession(device, servers, deployment.trust).enrol("token")


def test_a_server_that_comes_back_is_found(deployment: Deployment, tmp_path: Path) -> None:
    """The first attempts fail, then the port answers; every attempt is signed afresh."""
    address = f"127.0.0.1:{_free_port()}"
    endpoints = Endpoints(address, deployment.endpoints.ledger, deployment.endpoints.ca_pem)
    calls: list[bytes] = []
    with Connection(endpoints) as connection, _open(tmp_path, "d") as device:
        servers = connection.servers(device.facts.identity(), device.clock_ms)
        session = DeviceSession(device, servers, deployment.trust)
        session.enrol(deployment.token())
        forwarding = threading.Timer(0.25, _forward, (address, deployment.endpoints.gateway, calls))
        forwarding.daemon = True
        forwarding.start()
        assert session.check_in() is None
    assert calls


def _session(deployment: Deployment, connection: Connection, device: Personalizer) -> DeviceSession:
    servers = connection.servers(device.facts.identity(), device.clock_ms)
    return DeviceSession(device, servers, deployment.trust)


def test_a_person_exports_withdraws_erases_and_comes_back(
    deployment: Deployment, tmp_path: Path
) -> None:
    with Connection(deployment.endpoints) as connection, _open(tmp_path, "d") as device:
        session = _session(deployment, connection, device)
        session.enrol(deployment.token())
        device.track("Product Viewed", {"product_id": "i1"})
        device.consent("learn", ["product_view"], True)
        session.push_consents()
        # What is exported verifies with the ledger's key alone, and after any change no more.
        exported: Any = device.rights.export().document
        (held,) = json.loads(json.dumps(exported["records"]))
        origin, key = deployment.trust.consent_origin, deployment.trust.ledger_key
        seen = verify_record(held, origin, key)
        assert seen.size > held["proof"]["receipt"]["index"]
        for section, name in (("events", 0), ("pii_processing", "language")):
            changed: Any = json.loads(json.dumps(held))
            changed[section][name] = "another"
            with pytest.raises(PrivacyError):
                verify_record(changed, origin, key)
        for name in ("event", "signature", "device_key"):
            changed = json.loads(json.dumps(held))
            changed["proof"][name] = held["proof"]["receipt"]["checkpoint"]
            with pytest.raises(PrivacyError):
                verify_record(changed, origin, key)
        with pytest.raises(PrivacyError):
            verify_record(held, origin, deployment.trust.coordinator_key)
        # A withdrawal is in force here at once, and at the ledger with the next sync.
        receipt = device.rights.withdraw("learn")
        assert [one.pending for one in device.rights.receipts()] == [False, True]
        session.push_consents()
        assert [one.pending for one in device.rights.receipts()] == [False, False]
        assert session.check_in() is None
        # An erasure too; then the device is somebody new.
        old, consents = device.device_id, device.consents
        assert device.rights.erase().pending
        report = run(device, session)
        assert "erased" in report.idle_reason
        assert report.device_id == old != device.device_id
        assert device.population is None
        assert device.consents is not consents
        erased = device.rights.receipts()[-1]
        assert (erased.verb, erased.pending) == ("erase", False)
        statement = ErasureStatement.from_json(parse_canonical(bytes.fromhex(erased.statement)))
        assert statement.rounds == ()
        assert receipt.number < erased.number
        node = deployment.ledger.node
        assert node.registry.public_key(old) is None
        again = _session(deployment, connection, device)
        again.enrol(deployment.token())
        device.consent("learn", ["product_view"], True)
        assert again.push_consents() == 1
        assert again.check_in() is None
        assert again.idle_reason == "no round is open"


def test_past_rounds_are_labelled_when_erased(deployment: Deployment, tmp_path: Path) -> None:
    manifest, index = deployment.publish_task("to-be-erased")
    devices = [_open(tmp_path, f"e{n}") for n in range(2)]
    with Connection(deployment.endpoints) as connection, devices[0], devices[1]:
        sessions = [_session(deployment, connection, device) for device in devices]
        for device, session in zip(devices, sessions, strict=True):
            session.enrol(deployment.token())
            device.consent("learn", ["product_view"], True)
            session.push_consents()
        with ThreadPoolExecutor(1) as pool:
            round_run = pool.submit(deployment.run_round, manifest, index)
            for session in sessions:
                _until(lambda session=session: _joins(session))  # type: ignore[misc]
            round_run.result(timeout=30)
        devices[0].rights.erase()
        assert sessions[0].finish_erasure()
        assert not sessions[0].finish_erasure()
        (erased,) = devices[0].rights.receipts()
        statement = ErasureStatement.from_json(parse_canonical(bytes.fromhex(erased.statement)))
        (labelled,) = statement.rounds
        assert labelled.task_sha256 == manifest.digest().hex()
        # Its sum exists, and no reservation yet: it cannot be said to be stopped.
        assert labelled.label == "dp-bounded"
        assert statement.epsilon == pytest.approx(epsilon_bound([GaussianEvent(2.0)], DELTA))
        assert "1 dp-bounded" in erased.summary


def _joins(session: DeviceSession) -> bool:
    offer = session.check_in()
    if offer is not None:
        session.contribute(offer)
    return offer is not None


def _forward(address: str, target: str, calls: list[bytes]) -> None:
    """Relay one TCP connection to the gateway, byte for byte."""
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))) as listener:
        listener.settimeout(20)
        near, _ = listener.accept()
    target_host, _, target_port = target.rpartition(":")
    far = socket.create_connection((target_host, int(target_port)))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                calls.append(data)
                sink.sendall(data)
        except OSError:
            return
        finally:
            sink.close()

    back = threading.Thread(target=pump, args=(far, near), daemon=True)
    back.start()
    pump(near, far)
    back.join(timeout=5)
