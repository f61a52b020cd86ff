"""A person joins, is erased, and is trained away, with real processes.

Ledger, gateway, coordinator and the command line are processes; devices sync over TLS on loopback.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tacit.client import (
    Catalogue,
    DevicePolicy,
    Endpoints,
    FileKeyProvider,
    Personalizer,
    TrustRoots,
)
from tacit.server.tls import make_authority

_DEPLOYMENT = Path(__file__).resolve().parent.parent / "server" / "conftest.py"
_COORDINATOR = Path(__file__).parent / "bridge_coordinator.py"
ITEMS, DELTA = 30, 1e-3
TIMEOUT_S = 120.0


class Site:
    """The processes of one deployment, and the people's devices in threads of this one."""

    def __init__(self, home: Path) -> None:
        spec = importlib.util.spec_from_file_location("tests_journey_deployment", _DEPLOYMENT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        self.home = home
        self.node: Any = module.Deployment(home / "ledger", make_authority())
        for role, key in self.node.keys.items():
            (home / f"{role}.key").write_text(key.private_bytes().hex())
        self.ca = home / "ca.pem"
        self.ca.write_bytes(self.node.authority.certificate_pem)
        self.processes: list[subprocess.Popen[Any]] = []
        process, self.ledger = self.node.spawn()
        self.processes.append(process)
        self.operator = self.node.client("operator", address=self.ledger)
        account = self.node.account(60.0, target_delta=DELTA)
        self.operator.append_governance("account", account.to_json())
        self.catalogue = Catalogue.build((f"i{n}", f"Item {n}", []) for n in range(ITEMS))
        self.gateway = f"127.0.0.1:{_free_port()}"
        self._start_gateway()
        self.trust = TrustRoots(
            "test.example/governance",
            "test.example/consent",
            self.node.node_key.public_key,
            self.node.keys["coordinator"].public_key,
        )
        self.endpoints = Endpoints(self.gateway, self.ledger, self.node.authority.certificate_pem)

    def _start_gateway(self) -> None:
        config = self.home / "gateway.json"
        tls = self.home / "ledger"
        document = {
            "population": "shop",
            "address": self.gateway,
            "bridge_socket": str(self.home / "b.sock"),
            "tls_certificate": str(tls / "tls.pem"),
            "tls_key": str(tls / "tls.key"),
            "ledger_address": self.ledger,
            "ledger_ca": str(self.ca),
            "signing_key": str(self.home / "gateway.key"),
            "coordinator_key": self.node.keys["coordinator"].public_key.hex(),
        }
        config.write_text(json.dumps(document))
        command = [sys.executable, "-m", "tacit.server.gateway", "--config", str(config)]
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        host, _, port = self.gateway.rpartition(":")
        _until(lambda: _listening(host, int(port)) and (self.home / "b.sock").exists())

    def person(self, number: int) -> Person:
        (token,) = self.operator.create_tokens("shop", 1, 2**52)
        return Person(self, number, token)

    def config(self, name: str, base: int) -> Path:
        path = self.home / f"{name}.json"
        document = {
            "state_dir": str(self.home / name),
            "ledger_address": self.ledger,
            "ledger_ca": str(self.ca),
            "signing_key": str(self.home / "coordinator.key"),
            "task_id": name,
            "population": "shop",
            "budget_account": "main",
            "learner": "spectral",
            "signals": {"rating": 1.0},
            "n_items": ITEMS,
            "catalogue_sha256": self.catalogue.digest.hex(),
            "features": "",
            "cohort_expected": 4,
            "cohort_min": 2,
            "cohort_max": 100,
            "epsilon": 4.0,
            "target_delta": DELTA,
            "base_release": base,
            "round_timeout_s": 60.0,
        }
        path.write_text(json.dumps(document))
        return path

    def train(self, config: Path, people: list[Person]) -> str:
        """Run a coordinator to its end while people's devices sync; returns its outcome."""
        command = [sys.executable, str(_COORDINATOR), str(self.home / "b.sock"), str(config)]
        process = subprocess.Popen(command)
        done = threading.Event()
        threads = [threading.Thread(target=one.sync_until, args=(done,)) for one in people]
        try:
            for thread in threads:
                thread.start()
            process.wait(TIMEOUT_S)
        finally:
            done.set()
            process.kill()
            for thread in threads:
                thread.join()
        state = Path(json.loads(config.read_text())["state_dir"])
        return (state / "outcome.txt").read_text().strip()

    def stop(self) -> None:
        self.node.stop()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()


class Person:
    """Somebody with a device."""

    def __init__(self, site: Site, number: int, token: str) -> None:
        self._site = site
        self.path = site.home / f"device-{number}"
        self.path.mkdir()
        with self.open() as device:
            device.consent("learn", ["rating"], True)
            for offset in range(4):
                device.rate(f"i{(5 * number + 3 * offset) % ITEMS}", 4.0)
            device.sync(site.endpoints, site.trust, token=token)

    def open(self) -> Personalizer:
        keys = FileKeyProvider(self.path / "profile.key")
        return Personalizer.open(
            self.path / "profile.db",
            keys,
            self._site.catalogue,
            policy=DevicePolicy(max_epsilon=50.0),
        )

    def sync(self) -> int:
        """Sync once; returns the installed version."""
        with self.open() as device:
            device.sync(self._site.endpoints, self._site.trust)
            return device.state().release_version

    def sync_until(self, done: threading.Event) -> None:
        with self.open() as device:
            while not done.wait(0.05):
                device.sync(self._site.endpoints, self._site.trust)

    def receipt(self) -> Any:
        """Return the receipt of the erasure, as `tacit device rights` shows it."""
        *_, last = json.loads(tacit("device", "rights", "receipts", *self.store, "--json"))
        return last

    @property
    def store(self) -> tuple[str, ...]:
        return str(self.path), "--key", str(self.path / "profile.key")


def tacit(*arguments: str, fails: bool = False) -> str:
    """Run the command line in a process of its own; returns what it printed."""
    command = [sys.executable, "-c", "from tacit.cli.main import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def _until(condition: Any) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def _listening(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=0.2):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.stop()


@pytest.mark.long
def test_a_person_is_trained_away(site: Site) -> None:
    people = [site.person(number) for number in range(4)]
    assert site.train(site.config("t1", base=0), people) == "released 1"
    newcomer = site.person(9)
    assert site.train(site.config("t2", base=1), [*people, newcomer]) == "released 2"
    assert [one.sync() for one in (*people, newcomer)] == [2] * 5

    # Erased: at once here, at the ledger with the sync, and the statement says what remains.
    tacit("device", "rights", "erase", *newcomer.store, "--yes")
    assert newcomer.sync() == 0
    erased = newcomer.receipt()
    assert set(erased["labels"]) == {"dp-bounded"}
    rounds = len(erased["labels"])
    assert json.loads(bytes.fromhex(erased["statement"]))["releases"] == [2]

    # Retrained: announced, written as a configuration, run like any task among who is there now.
    asked = (
        "--key",
        str(site.home / "operator.key"),
        "--ledger",
        site.ledger,
        "--ca",
        str(site.ca),
    )
    out = site.home / "t3.json"
    announced = json.loads(
        tacit(
            *("ledger", "retrain", "--population", "shop", *asked, "--json"),
            *("--coordinator", str(site.home / "t2.json"), "--out", str(out)),
        )
    )
    assert (announced["base_release"], len(announced["tasks"])) == (1, 1)
    assert newcomer.sync() == 0
    assert newcomer.receipt() == erased, "announced is not done"
    assert site.train(out, people) == "released 3"

    # Devices have left release 2, the label is another, and nothing may build on it any more.
    assert [one.sync() for one in people] == [3] * 4
    assert newcomer.sync() == 0
    now = newcomer.receipt()
    assert now["labels"] == ["retrained-exact"] * rounds
    assert now["statement"] == erased["statement"]
    assert f"{rounds} retrained-exact" in now["summary"]
    outcome = site.train(site.config("t4", base=2), people)
    assert "release 2 was superseded by a retraining" in outcome
    again = tacit("ledger", "retrain", "--population", "shop", *asked, fails=True)
    assert "nothing to retrain" in again

    # Whoever has the export can check all of it.
    tacit("ledger", "export", "--database", str(site.node.state_dir), str(site.home / "export"))
    report = json.loads(tacit("ledger", "verify", str(site.home / "export"), "--json"))
    (told,) = report["retrainings"]
    assert (told["release"], told["superseded"], told["base_release"]) == (3, [2], 1)
    shown = tacit("ledger", "verify", str(site.home / "export"))
    assert "release 3 superseded 2: retrained-exact (erasure)" in shown
    assert "shop 3, supersedes 2" in tacit("ledger", "show", str(site.home / "export"))
