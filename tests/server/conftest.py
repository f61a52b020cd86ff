"""A ledger deployment on loopback: keys, certificates, a real server, devices that talk to it."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.budget_documents import AccountDocument, ReserveDocument
from tacit.privacy.consent import NO_PREDECESSOR, ConsentEvent, NoticeShown, event_digest
from tacit.privacy.erasure import ErasureRequest
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.signatures import SigningKey
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.authn import seal
from tacit.server.ledger.client import LedgerClient
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.contents import read_node
from tacit.server.ledger.serving import LedgerServer
from tacit.server.ledger.verification_report import VerificationReport
from tacit.server.ledger.verify import verify_contents
from tacit.server.tls import Authority, issue, make_authority
from tacit.v1 import ledger_pb2, ledger_pb2_grpc

POPULATION = "shop"
DELTA = 1e-6
CATALOGUE = hashlib.sha256(b"catalogue").hexdigest()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class PostgresServer:
    """A real PostgreSQL server on a unix socket, from the `pgserver` wheel."""

    def __init__(self, directory: Path) -> None:
        # The wheel looks for a runtime directory as it is imported, and warns where none is set.
        (directory / "run").mkdir(mode=0o755)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(directory / "run"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wheel: Any = __import__("pgserver")
        # As root it runs as a user of its own, `pgserver`: PostgreSQL refuses root.
        self._server = wheel.get_server(directory / "data", cleanup_mode="stop")
        self._socket_dir = directory / "data"
        self._numbers = itertools.count()
        self._free: list[str] = []

    def new_database(self) -> str:
        """Return the address of an empty database."""
        if self._free:
            return self._free.pop()
        name = f"ledger_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.address(name)

    def take_back(self, address: str) -> None:
        """Empty a database for the next test; making a new one takes the server far longer."""
        self.execute("DROP SCHEMA public CASCADE", address)
        self.execute("CREATE SCHEMA public", address)
        self._free.append(address)

    def address(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self._socket_dir}"

    def execute(self, statement: str, address: str = "") -> list[Any]:
        """Run one statement as a superuser, outside any transaction."""
        driver: Any = __import__("psycopg")
        with driver.connect(address or self.address("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def copy(self, address: str) -> str:
        """Copy a database that nobody uses; returns the copy's address."""
        name = f"ledger_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {_name(address)}")
        return self.address(name)

    def stop(self) -> None:
        """Stop it without the checkpoint of an orderly end: nothing of it is used again."""
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(30)
        self._server.cleanup()


def _name(address: str) -> str:
    return address.partition("@/")[2].partition("?")[0]


class Deployment:
    """Keys, certificates and configuration of one ledger node, and documents that fit it."""

    population = POPULATION
    delta = DELTA

    @property
    def device_type(self) -> type[Device]:
        return Device

    def __init__(self, directory: Path, authority: Authority, database: str = "") -> None:
        self.directory = directory
        self.database = database
        self.postgres: Any = None
        self.authority = authority
        self.node_key = SigningKey.generate(os.urandom)
        self.keys = {
            role: SigningKey.generate(os.urandom)
            for role in ("gateway", "coordinator", "operator", "auditor")
        }
        self.officers = {name: SigningKey.generate(os.urandom) for name in ("alice", "bob")}
        directory.mkdir(parents=True, exist_ok=True)
        certificate = issue(authority, ["localhost", "127.0.0.1"])
        certificate.write(directory / "tls.pem", directory / "tls.key")
        (directory / "node.key").write_text(self.node_key.private_bytes().hex())
        self.config_path = directory / "ledger.json"
        self.write_config()
        self._server: LedgerServer | None = None
        self._clients: list[LedgerClient] = []
        self._channels: list[grpc.Channel] = []

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    def write_config(self, address: str = "127.0.0.1:0", **changes: Any) -> Path:
        document = {
            "state_dir": str(self.state_dir),
            "address": address,
            "tls_certificate": str(self.directory / "tls.pem"),
            "tls_key": str(self.directory / "tls.key"),
            "signing_key": str(self.directory / "node.key"),
            "origin": "test.example",
            "principals": [
                {"name": role, "role": role, "public_key": key.public_key.hex()}
                for role, key in self.keys.items()
            ]
            + [
                {"name": name, "role": "officer", "public_key": key.public_key.hex()}
                for name, key in self.officers.items()
            ],
        }
        if self.database:
            document["database"] = self.database
        self.config_path.write_text(json.dumps(document | changes))
        return self.config_path

    @property
    def config(self) -> LedgerConfig:
        return LedgerConfig.load(self.config_path)

    def verify(self, **options: Any) -> VerificationReport:
        """Verify what the database holds, whether or not a node runs on it."""
        return verify_contents(read_node(self.config), **options)

    def execute(self, statement: str) -> list[Any]:
        """Run a statement behind the node's back; hexadecimal literals are written x'00'."""
        if self.database:
            driver: Any = __import__("psycopg")
            statement = statement.replace("x'", r"'\x")
            with driver.connect(self.database, autocommit=True) as connection:
                cursor = connection.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        with closing(sqlite3.connect(self.state_dir / "ledger.sqlite")) as database, database:
            return database.execute(statement).fetchall()

    def keep_copy(self) -> Any:
        """Copy the stopped node's database, as a backup would; see `put_back`."""
        if self.database:
            return self.postgres.copy(self.database)
        copies = self.directory / "copies"
        copies.mkdir(exist_ok=True)
        kept = copies / str(len(list(copies.iterdir())))
        shutil.copytree(self.state_dir, kept)
        return kept

    def put_back(self, kept: Any) -> None:
        """Restore a copy of the database over the stopped node's."""
        if self.database:
            self.database = kept
            self.write_config()
            return
        shutil.rmtree(self.state_dir)
        shutil.copytree(kept, self.state_dir)

    def table_files(self) -> list[bytes]:
        """Return the files that hold the rows (PostgreSQL's own log and backups are not here)."""
        if not self.database:
            return [path.read_bytes() for path in self.state_dir.glob("ledger.sqlite*")]
        self.execute("CHECKPOINT")
        ((directory,),) = self.execute(
            "SELECT current_setting('data_directory') || '/base/' || oid FROM pg_database "
            "WHERE datname = current_database()"
        )
        return [path.read_bytes() for path in Path(directory).iterdir()]

    def start(self) -> LedgerServer:
        self._server = LedgerServer(LedgerConfig.load(self.config_path))
        self._server.start()
        return self._server

    @property
    def server(self) -> LedgerServer:
        return self._server or self.start()

    @property
    def node(self) -> Any:
        return self.server.node

    def client(self, role: str, key: SigningKey | None = None, address: str = "") -> LedgerClient:
        client = LedgerClient(
            address or self.server.address,
            self.authority.certificate_pem,
            key or self.keys[role],
            patience_s=60,
        )
        self._clients.append(client)
        return client

    def stub(self, address: str = "") -> Any:
        channel = grpc.secure_channel(
            address or self.server.address,
            grpc.ssl_channel_credentials(self.authority.certificate_pem),
        )
        self._channels.append(channel)
        return ledger_pb2_grpc.LedgerServiceStub(channel)

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        for channel in self._channels:
            channel.close()
        self._clients, self._channels = [], []
        if self._server is not None:
            self._server.stop()
            self._server = None

    def device(self, stub: Any = None) -> Device:
        (token,) = self.client("operator").create_tokens(POPULATION, 1, now_ms() + 60_000)
        device = Device(stub or self.stub())
        device.enrol(token)
        return device

    def account(self, cap: float = 8.0, **changes: Any) -> AccountDocument:
        account = AccountDocument("main", POPULATION, cap, DELTA, {"learn": cap})
        return dataclasses.replace(account, **changes)

    def governed_account(self, cap: float = 8.0, **changes: Any) -> AccountDocument:
        """An account whose terms alice and bob may change together."""
        fields = {
            "population_size": 1000,
            "window_days": 1,
            "alert_thresholds": (0.05, 0.1),
            "approvers": tuple(key.key_id for key in self.officers.values()),
        }
        return self.account(cap, **(fields | changes))

    def task(self, rounds: int = 3, z: float = 8.0, **changes: Any) -> TaskManifest:
        plans = tuple(
            RoundPlan(i, "popularity/1", 10, 1.0, 4096, z, {}) for i in range(1, rounds + 1)
        )
        task = TaskManifest(
            task_id="task-1",
            population=POPULATION,
            purpose="learn",
            learner="spectral/1",
            signals={"rating": 1.0},
            rounds=plans,
            trust_level="central",
            cohort_min=2,
            cohort_max=100,
            cohort_expected=50,
            participation_bound=rounds,
            unit="user",
            neighboring_relation="add_remove",
            epsilon=epsilon_bound([GaussianEvent(z, rounds)], DELTA),
            target_delta=DELTA,
            budget_account="main",
            catalogue_sha256=CATALOGUE,
            issued_at_ms=now_ms(),
            expires_at_ms=now_ms() + 3_600_000,
            base_release=0,
        )
        return dataclasses.replace(task, **changes)

    def reserve(self, task: TaskManifest, round_id: int = 1, **changes: Any) -> ReserveDocument:
        document = ReserveDocument(
            reservation_id=f"{task.task_id}/{round_id}",
            account_id=task.budget_account,
            purpose=task.purpose,
            idempotency_key=f"{task.task_id}/{round_id}",
            task_sha256=task.digest().hex(),
            round_id=round_id,
            context_sha256="ab" * 32,
            event=GaussianEvent(task.rounds[0].noise_multiplier),
        )
        return dataclasses.replace(document, **changes)

    def release(self, task: TaskManifest, model: bytes, **changes: Any) -> ReleaseManifest:
        release = ReleaseManifest(
            population=POPULATION,
            version=1,
            task_sha256=task.digest().hex(),
            model_sha256=hashlib.sha256(model).hexdigest(),
            model_bytes=len(model),
            catalogue_sha256=task.catalogue_sha256,
            reservations=tuple(f"{task.task_id}/{plan.round_id}" for plan in task.rounds),
            epsilon=0.0,
            target_delta=DELTA,
            created_at_ms=now_ms(),
        )
        return dataclasses.replace(release, **changes)

    def open_account(self, cap: float = 8.0, **changes: Any) -> TaskManifest:
        """Append the account and a task on it; returns the task."""
        self.client("operator").append_governance("account", self.account(cap).to_json())
        task = self.task(**changes)
        self.client("coordinator").append_governance("task", task.to_json())
        return task

    def run_task(self, devices: int = 3) -> TaskManifest:
        """Write a whole history: consents, account, task, spends, a release."""
        stub = self.stub()
        for _ in range(devices):
            device = self.device(stub)
            device.append(device.event())
        task = self.open_account()
        coordinator = self.client("coordinator")
        for plan in task.rounds:
            coordinator.reserve(self.reserve(task, plan.round_id))
            noised = hashlib.sha256(bytes([plan.round_id])).hexdigest()
            coordinator.commit("main", f"{task.task_id}/{plan.round_id}", noised)
        model = b"model"
        coordinator.put_blob(model)
        spent = float(coordinator.show_budget("main").epsilon_spent)
        release = self.release(task, model, epsilon=spent)
        coordinator.append_governance("release", release.to_json())
        return task

    def spawn(self) -> tuple[subprocess.Popen[str], str]:
        """Start the real process; returns it and its address."""
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tacit.server.ledger",
                "--config",
                str(self.config_path),
                "--exit-with-parent",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready "), f"the ledger did not start: {line!r}"
        return process, line.split()[1]


class Device:
    """A device as the ledger sees it."""

    def __init__(self, stub: Any) -> None:
        self.key = SigningKey.generate(os.urandom)
        self.stub = stub
        self.chain: list[bytes] = []

    def enrol(self, token: str, **changes: Any) -> ledger_pb2.EnrolReply:
        request: dict[str, Any] = {
            "token": token,
            "public_key": self.key.public_key,
            "proof": self.key.sign("enrol", token.encode()),
        }
        reply: ledger_pb2.EnrolReply = self.stub.Enrol(
            ledger_pb2.EnrolRequest(**(request | changes))
        )
        return reply

    def event(self, state: str = "given", **changes: Any) -> ConsentEvent:
        event = ConsentEvent(
            record_id=os.urandom(16).hex(),
            subject_pseudonym="p" * 16,
            controller="Example Shop",
            purpose="learn",
            signals=("product_view", "rating"),
            lawful_basis="consent",
            notice=NoticeShown("privacy", "1", "0" * 64, "en", now_ms()),
            method="settings",
            state=state,
            event_time_ms=now_ms(),
            valid_until_ms=now_ms() + 86_400_000,
            retention_days=365,
            storage_location="EU",
            recipients=(),
            jurisdiction="EU",
            withdrawal_uri="app:settings",
            gpc_present=False,
            gpc_conflict=False,
            prev_commitment=event_digest(self.chain[-1]) if self.chain else NO_PREDECESSOR,
            seq=len(self.chain) + 1,
        )
        return dataclasses.replace(event, **changes)

    def append(
        self, event: ConsentEvent, known_size: int = 0, signature: bytes = b""
    ) -> ledger_pb2.ConsentReceipt:
        data = event.to_bytes()
        receipt = self.send(data, signature or self.key.sign("consent", data), known_size)
        if len(self.chain) < event.seq:
            self.chain.append(data)
        return receipt

    def send(self, data: bytes, signature: bytes, known_size: int) -> ledger_pb2.ConsentReceipt:
        body = ledger_pb2.AppendConsentRequest(
            event=data, event_signature=signature, known_size=known_size
        )
        reply: ledger_pb2.ConsentReceipt = self.stub.AppendConsent(self.sealed(body))
        return reply

    def state_proof(self, covering: int = 0, *keys: bytes) -> ledger_pb2.GetStateProofReply:
        body = ledger_pb2.GetStateProofRequest(covering=covering, keys=keys)
        reply: ledger_pb2.GetStateProofReply = self.stub.GetStateProof(
            self.sealed(body, "GetStateProof")
        )
        return reply

    def erase(self, *rounds: tuple[str, int], **changes: Any) -> ledger_pb2.EraseReply:
        request = ErasureRequest(os.urandom(16).hex(), self.key.key_id, now_ms(), rounds)
        data = dataclasses.replace(request, **changes).to_bytes()
        body = ledger_pb2.EraseRequest(
            request=data,
            request_signature=self.key.sign("erasure", data),
            public_key=self.key.public_key,
        )
        reply: ledger_pb2.EraseReply = self.stub.Erase(self.sealed(body, "Erase"))
        return reply

    def sealed(self, body: Any, method: str = "AppendConsent", at_ms: int | None = None) -> Any:
        path = f"/tacit.v1.LedgerService/{method}"
        at_ms = now_ms() if at_ms is None else at_ms
        return seal(self.key, path, body.SerializeToString(), at_ms, os.urandom)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    for module in ("pgserver", "psycopg"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed here; make test installs it")
    # Short, for a socket's path has 107 bytes at most; open, for the server may have its own user.
    directory = Path(tempfile.mkdtemp(prefix="tacit-pg-", dir="/tmp"))
    directory.chmod(0o755)
    server = PostgresServer(directory)
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database_kind() -> str:
    """Which database ledgers have; folders whose tests are of the ledger itself take both."""
    return "sqlite"


@pytest.fixture
def new_database(database_kind: str, request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Yield what makes a new database of the kind: its address, empty for SQLite."""
    if database_kind == "sqlite":
        yield lambda: ""
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    made: list[str] = []

    def make() -> str:
        made.append(server.new_database())
        return made[-1]

    yield make
    for address in made:
        server.take_back(address)


@pytest.fixture
def new_deployment(
    tmp_path: Path,
    authority: Authority,
    new_database: Callable[[], str],
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[str], Deployment]]:
    made: list[Deployment] = []

    def make(name: str) -> Deployment:
        made.append(Deployment(tmp_path / name, authority, new_database()))
        if made[-1].database:
            made[-1].postgres = request.getfixturevalue("postgres_server")
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def deployment(new_deployment: Callable[[str], Deployment]) -> Deployment:
    return new_deployment("ledger")


@pytest.fixture(scope="session")
def deployment_type() -> type[Deployment]:
    return Deployment
