"""Rounds made by hand, and a gateway on loopback before a real ledger node."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import string
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest

from tacit.privacy.arrays import pack_arrays
from tacit.privacy.canonical import parse_canonical
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundHeader, RoundPlan, TaskManifest
from tacit.server.authn import seal
from tacit.server.gateway.config import GatewayConfig
from tacit.server.gateway.round import Round
from tacit.server.gateway.server import GatewayServer
from tacit.v1 import device_pb2, device_pb2_grpc, gateway_pb2, gateway_pb2_grpc

if TYPE_CHECKING:
    from tests.server.conftest import Deployment, Device

LENGTH = 10
INTEGER_NORM = 4096
CONTEXT = pack_arrays({})
SIGNALS = frozenset({"rating"})


class Clock:
    """A monotonic clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclasses.dataclass
class HandMadeRound:
    """A round without a gateway around it."""

    round: Round
    clock: Clock

    def accept(self, device_id: str, *values: int, signals: frozenset[str] = SIGNALS) -> None:
        vector = np.zeros(LENGTH, "<i2")
        vector[: len(values)] = values
        self.round.accept(device_id, signals, vector.tobytes())

    def join(self, device_id: str, *values: int, signals: frozenset[str] = SIGNALS) -> None:
        self.round.offer(device_id)
        self.accept(device_id, *values, signals=signals)

    def close(self, **granted: frozenset[str]) -> Any:
        """Close under the consents given; with none given, everybody still consents."""
        if granted:
            return self.round.close(lambda _ids: granted)
        return self.round.close(lambda ids: dict.fromkeys(ids, SIGNALS))


EVERYBODY = frozenset(
    {
        *string.ascii_lowercase,
        *("stays", "stays_too", "gone", "narrowed", "widened", "early", "late", "silent"),
        *(f"d{n}" for n in range(60)),
    }
)


@pytest.fixture
def new_round() -> Callable[..., HandMadeRound]:
    def make(
        eligible: Collection[str] = EVERYBODY,
        cohort_min: int = 2,
        cohort_max: int = 100,
        timeout_s: float = 60.0,
        quiet_s: float = 3.0,
        trust_level: str = "central",
    ) -> HandMadeRound:
        manifest = TaskManifest(
            task_id="task-1",
            population="shop",
            purpose="learn",
            learner="popularity/1",
            signals={"rating": 1.0},
            rounds=(RoundPlan(1, "popularity/1", LENGTH, 1.0, INTEGER_NORM, 8.0, {}),),
            trust_level=trust_level,
            cohort_min=cohort_min,
            cohort_max=cohort_max,
            cohort_expected=cohort_min,
            participation_bound=1,
            unit="user",
            neighboring_relation="replace" if trust_level == "local" else "add_remove",
            epsilon=1.0,
            target_delta=1e-6,
            budget_account="main",
            catalogue_sha256="0" * 64,
            issued_at_ms=0,
            expires_at_ms=1,
            base_release=0,
        )
        header = RoundHeader(manifest.digest().hex(), 1, "0" * 64, 0, 1)
        clock = Clock()
        made = Round(
            manifest,
            header,
            eligible=eligible,
            monotonic_s=clock,
            timeout_s=timeout_s,
            quiet_s=quiet_s,
        )
        return HandMadeRound(made, clock)

    return make


class Site:
    """A gateway before a real ledger, the coordinator's side of it, and devices."""

    length = LENGTH
    integer_norm = INTEGER_NORM
    context = CONTEXT

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.ledger = deployment
        self.coordinator_key = deployment.keys["coordinator"]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "gateway.key").write_text(deployment.keys["gateway"].private_bytes().hex())
        (directory / "ca.pem").write_bytes(deployment.authority.certificate_pem)
        self.config = GatewayConfig(
            population=deployment.population,
            address="127.0.0.1:0",
            bridge_socket=str(directory / "bridge.sock"),
            tls_certificate=str(deployment.directory / "tls.pem"),
            tls_key=str(deployment.directory / "tls.key"),
            ledger_address=deployment.server.address,
            ledger_ca=str(directory / "ca.pem"),
            signing_key=str(directory / "gateway.key"),
            coordinator_key=self.coordinator_key.public_key.hex(),
            quiet_s=30.0,
            max_workers=8,
        )
        self.server = GatewayServer(self.config)
        self.server.start()
        self._devices = grpc.secure_channel(
            self.server.address,
            grpc.ssl_channel_credentials(deployment.authority.certificate_pem),
        )
        self.stub = device_pb2_grpc.DeviceServiceStub(self._devices)
        self._socket = grpc.insecure_channel(f"unix:{self.config.bridge_socket}")
        self.bridge = gateway_pb2_grpc.GatewayServiceStub(self._socket)
        self._pool = ThreadPoolExecutor(2)
        self._coordinator = deployment.client("coordinator")
        self._account_open = False

    def stop(self) -> None:
        self.server.stop()
        self._pool.shutdown()
        self._devices.close()
        self._socket.close()

    # --- the coordinator's side ----------------------------------------------------------------

    def publish(self, **changes: Any) -> TaskManifest:
        """Put a task of one round in the governance log."""
        if not self._account_open:
            account = self.ledger.account(1000.0)
            self.ledger.client("operator").append_governance("account", account.to_json())
            self._account_open = True
        fields: dict[str, Any] = {"rounds": 1, "task_id": os.urandom(4).hex()}
        task = self.ledger.task(**(fields | changes))
        self.index = self._coordinator.append_governance("task", task.to_json())
        return task

    def request(
        self, task: TaskManifest, key: SigningKey | None = None, **changes: Any
    ) -> gateway_pb2.RunRoundRequest:
        """Make the request that opens the task's round."""
        now_ms = time.time_ns() // 1_000_000
        digest = hashlib.sha256(CONTEXT).hexdigest()
        header = RoundHeader(task.digest().hex(), 1, digest, now_ms, now_ms + 60_000)
        data = dataclasses.replace(header, **changes).to_bytes()
        return gateway_pb2.RunRoundRequest(
            task=self._coordinator.logged_entry(self.index),
            round_header=data,
            round_signature=(key or self.coordinator_key).sign(RoundHeader.SIGNING_CONTEXT, data),
            context=CONTEXT,
        )

    def open(self, task: TaskManifest, **changes: Any) -> Future[Any]:
        """Open the task's round and return its sum to come, once devices are told."""
        before = len(self.bridge.GatewayStatus(gateway_pb2.GatewayStatusRequest()).rounds)
        result = self._pool.submit(self.bridge.RunRound, self.request(task, **changes), timeout=30)
        self.until(lambda: result.done() or len(self.rounds()) > before)
        return result

    def rounds(self) -> list[Any]:
        return list(self.bridge.GatewayStatus(gateway_pb2.GatewayStatusRequest()).rounds)

    def counts(self) -> Any:
        """Return the counts of the newest round."""
        return self.rounds()[-1]

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline_s, "waited 20 s in vain"
            time.sleep(0.01)

    # --- devices -------------------------------------------------------------------------------

    def device(self, **consent: Any) -> Device:
        """Enrol a device that consents to `rating`."""
        device = self.ledger.device()
        fields: dict[str, Any] = {"signals": ("rating",)}
        device.append(device.event(**(fields | consent)))
        return device

    def check_in(self, device: Device) -> Any:
        return self.stub.CheckIn(self.sealed(device, "CheckIn", device_pb2.CheckInRequest()))

    def offer(self, device: Device) -> Any:
        reply = self.check_in(device)
        assert reply.HasField("offer"), reply.idle_reason
        return reply.offer

    def contribute(self, device: Device, offer: Any, *values: int, **changes: Any) -> Any:
        return self.stub.Contribute(self.contribution(device, offer, *values, **changes))

    def contribution(self, device: Device, offer: Any, *values: int, **changes: Any) -> Any:
        """Return a signed contribution, with some of its fields changed."""
        vector: npt.NDArray[np.int16] = np.zeros(LENGTH, "<i2")
        vector[: len(values)] = values
        header = RoundHeader.from_json(parse_canonical(offer.round_header))
        fields: dict[str, Any] = {
            "capability": offer.capability,
            "task_sha256": bytes.fromhex(header.task_sha256),
            "round_id": header.round_id,
            "dtype": device_pb2.DTYPE_INT16,
            "values": vector.tobytes(),
        }
        return self.sealed(device, "Contribute", device_pb2.Contribution(**(fields | changes)))

    @staticmethod
    def sealed(device: Device, method: str, body: Any, at_ms: int | None = None) -> Any:
        path = f"/tacit.v1.DeviceService/{method}"
        at_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
        return seal(device.key, path, body.SerializeToString(), at_ms, os.urandom)


@pytest.fixture
def site(deployment: Deployment, tmp_path: Path) -> Iterator[Site]:
    made = Site(deployment, tmp_path / "gateway")
    yield made
    made.stop()


@pytest.fixture
def in_threads() -> Callable[[list[Callable[[], Any]]], list[Any]]:
    """Run calls at once, each in a thread of its own; returns results and raised errors."""

    def run(calls: list[Callable[[], Any]]) -> list[Any]:
        barrier = threading.Barrier(len(calls))

        def one(call: Callable[[], Any]) -> Any:
            barrier.wait()
            try:
                return call()
            except Exception as error:  # noqa: BLE001 - returned to the test
                return error

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(one, calls))

    return run
