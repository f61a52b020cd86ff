"""The demo, start to finish.

    ledger ─▶ account, notice, tokens ─▶ SuperLink, gateway, SuperNode ─▶ fleet enrols
      ─▶ flwr run (coordinator) ─▶ rounds ─▶ release ─▶ devices install and recommend
      ─▶ everything stops ─▶ ledger exported and verified offline ─▶ report

Any process may be killed at any time: the demo then stops the others, says which one died, and
`--resume` goes on from what is on disk.
"""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Protocol

import grpc
import psutil

from tacit.client import ConsentTerms
from tacit.privacy.arrays import pack_arrays
from tacit.privacy.budget_documents import AccountDocument
from tacit.privacy.notice import NoticeDocument
from tacit.server.coordinator.superlink import APP_DIR
from tacit.server.ledger.client import LedgerClient
from tacit.simulations.demo.deployment import ACCOUNT, POPULATION, Deployment
from tacit.simulations.demo.descendants import Descendants
from tacit.simulations.demo.feasibility import check_feasible
from tacit.simulations.demo.options import DemoOptions
from tacit.simulations.demo.population import DemoPopulation, demo_population
from tacit.simulations.demo.report import build_report
from tacit.simulations.demo.supervisor import Process, Supervisor
from tacit.simulations.errors import DemoFailed
from tacit.simulations.fleet.config import FleetConfig
from tacit.v1 import gateway_pb2, gateway_pb2_grpc

ORIGIN = "tacit.demo"
_START_TIMEOUT_S = 60.0
_TOKEN_TTL_MS = 3_600_000
_POLL_S = 0.25
_MAX_DELTA = 1e-5


class Progress(Protocol):
    """Hears how far the demo is."""

    def step(self, text: str) -> None:
        """Begin a step that has no count."""
        ...

    def count(self, phase: str, done: int, total: int) -> None:
        """Report a phase's count."""
        ...


def target_delta(devices: int) -> float:
    """δ = 1e-5, or a tenth of 1/N for populations where that is smaller."""
    return min(_MAX_DELTA, 0.1 / devices)


class Demo:
    """One run of the demo in one state directory.

    Args:
        options: what was asked.
        state: the state directory.
        progress: hears how far it is.
        app: the Flower app to run; tests pass one that also records the sums.

    Raises:
        BadExperiment: if no demo can be made with these options; nothing was written.
        DatasetError: if the data cannot be read; likewise.
    """

    def __init__(
        self,
        options: DemoOptions,
        state: pathlib.Path,
        progress: Progress,
        app: pathlib.Path = APP_DIR,
    ) -> None:
        self._options = options
        self._app = app
        self._progress = progress
        progress.step("preparing the population")
        self._population: DemoPopulation = demo_population(options)
        self._delta = target_delta(len(self._population.users))
        check_feasible(options, self._population, self._delta)
        self._deployment = Deployment(state)
        options.save(self._deployment.state)
        self._rounds: dict[int, dict[str, Any]] = self._saved_rounds()
        self._descendants = Descendants()

    def run(self) -> dict[str, Any]:
        """Run or resume; returns the report.

        Raises:
            DemoFailed: if a process ended before its time, naming it and how to go on.
        """
        started_s = time.monotonic()
        try:
            with self._descendants, Supervisor(self._deployment.path("logs")) as supervisor:
                try:
                    self._start_ledger(supervisor)
                    self._open_account()
                    self._start_flower(supervisor)
                    self._start_gateway(supervisor)
                    fleet = self._start_fleet(supervisor)
                    self._train(supervisor, fleet)
                    self._progress.step("stopping every process")
                finally:
                    self._descendants.note()
        finally:
            self._deployment.clean_up()
        self._progress.step("verifying the ledger offline")
        return build_report(
            self._deployment,
            self._population,
            self._rounds,
            time.monotonic() - started_s,
        )

    # --- processes -----------------------------------------------------------------------------

    def _start_ledger(self, supervisor: Supervisor) -> None:
        self._progress.step("starting the ledger")
        deployment = self._deployment
        address = f"127.0.0.1:{deployment.ports.ledger}"
        config = deployment.write_config(
            "ledger",
            {
                "state_dir": str(deployment.path("ledger")),
                "address": address,
                "tls_certificate": str(deployment.path("tls", "server.pem")),
                "tls_key": str(deployment.path("tls", "server.key")),
                "signing_key": str(deployment.key_file("ledger")),
                "origin": ORIGIN,
                "principals": [
                    {
                        "name": role,
                        "role": role,
                        "public_key": deployment.keys[role].public_key.hex(),
                    }
                    for role in ("operator", "gateway", "coordinator")
                ],
            },
        )
        supervisor.start("ledger", _python("tacit.server.ledger", config))
        supervisor.wait_for("ledger", lambda: _listening(address), _START_TIMEOUT_S)

    def _open_account(self) -> None:
        """As the operator: publish the notice, open the account, issue enrolment tokens."""
        deployment, options = self._deployment, self._options
        terms = ConsentTerms()
        now_ms = time.time_ns() // 1_000_000
        with LedgerClient(
            f"127.0.0.1:{deployment.ports.ledger}",
            deployment.authority_pem,
            deployment.keys["operator"],
        ) as ledger:
            notice = NoticeDocument(
                terms.notice_id, terms.notice_version, terms.language, terms.notice_text
            )
            ledger.append_governance("notice", notice.to_json())
            account = AccountDocument(
                account_id=ACCOUNT,
                population=POPULATION,
                cap_epsilon=options.epsilon,
                target_delta=self._delta,
                quotas={"learn": options.epsilon},
            )
            ledger.append_governance("account", account.to_json())
            tokens = ledger.create_tokens(
                POPULATION, len(self._population.users), now_ms + _TOKEN_TTL_MS
            )
        path = deployment.path("fleet", "tokens.json")
        path.touch(mode=0o600)
        path.write_text(json.dumps(tokens), encoding="ascii")

    def _start_flower(self, supervisor: Supervisor) -> None:
        self._progress.step("starting Flower's SuperLink")
        deployment = self._deployment
        self._flower = deployment.flower()
        self._flower_env = self._flower.environment()
        address = f"127.0.0.1:{deployment.ports.superlink}"
        supervisor.start("superlink", self._flower.superlink(), env=self._flower_env)
        supervisor.wait_for("superlink", lambda: _listening(address), _START_TIMEOUT_S)
        self._flwr(self._flower.register_supernode(), "register the SuperNode's key")

    def _start_gateway(self, supervisor: Supervisor) -> None:
        self._progress.step("starting the gateway and its SuperNode")
        deployment = self._deployment
        address = f"127.0.0.1:{deployment.ports.gateway}"
        config = deployment.write_config(
            "gateway",
            {
                "population": POPULATION,
                "address": address,
                "bridge_socket": str(deployment.bridge_socket),
                "tls_certificate": str(deployment.path("tls", "server.pem")),
                "tls_key": str(deployment.path("tls", "server.key")),
                "ledger_address": f"127.0.0.1:{deployment.ports.ledger}",
                "ledger_ca": str(deployment.path("tls", "authority.pem")),
                "signing_key": str(deployment.key_file("gateway")),
                "coordinator_key": deployment.keys["coordinator"].public_key.hex(),
            },
        )
        supervisor.start("gateway", _python("tacit.server.gateway", config))
        supervisor.start(
            "supernode", self._flower.supernode(deployment.bridge_socket), env=self._flower_env
        )
        supervisor.wait_for("gateway", lambda: _listening(address), _START_TIMEOUT_S)

    def _start_fleet(self, supervisor: Supervisor) -> _FleetOutput:
        deployment = self._deployment
        config = FleetConfig(
            directory=str(deployment.path("fleet")),
            options=self._options,
            target_delta=self._delta,
            gateway=f"127.0.0.1:{deployment.ports.gateway}",
            ledger=f"127.0.0.1:{deployment.ports.ledger}",
            authority=str(deployment.path("tls", "authority.pem")),
            origin=ORIGIN,
            ledger_key=deployment.keys["ledger"].public_key.hex(),
            coordinator_key=deployment.keys["coordinator"].public_key.hex(),
            tokens=str(deployment.path("fleet", "tokens.json")),
        )
        path = deployment.write_config("fleet", config.to_json())
        process = supervisor.start(
            "fleet", _python("tacit.simulations.fleet", path, own=False), read_output=True
        )
        output = _FleetOutput(process, self._progress)
        total = len(self._population.users)
        # The first training round should find everybody; enrolment takes as long as it takes.
        supervisor.wait_for("fleet", lambda: output.enrolled >= total, 60 + total)
        return output

    # --- training ------------------------------------------------------------------------------

    def _train(self, supervisor: Supervisor, fleet: _FleetOutput) -> None:
        """Start the coordinator, watch it and the rounds, and wait for the fleet's report."""
        deployment = self._deployment
        self._progress.step("starting the coordinator")
        coordinator = deployment.path("coordinator")
        (coordinator / "outcome.txt").unlink(missing_ok=True)
        (coordinator / "coordinator.pid").unlink(missing_ok=True)
        config = deployment.write_config("coordinator", self._coordinator_config())
        run = self._flwr(self._flower.run_task(self._app, config), "start the coordinator")
        outcome = ""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        seen_alive = False
        with grpc.insecure_channel(f"unix:{deployment.bridge_socket}") as channel:
            gateway = gateway_pb2_grpc.GatewayServiceStub(channel)
            while fleet.process.popen.poll() is None:
                self._descendants.note()
                supervisor.check()
                self._watch_rounds(gateway)
                if not outcome:
                    outcome = _read(coordinator / "outcome.txt")
                    alive = _alive(_read(coordinator / "coordinator.pid"))
                    if not outcome and seen_alive and not alive:
                        # It writes its outcome before it removes its pid: look once more.
                        outcome = _read(coordinator / "outcome.txt")
                        if not outcome:
                            raise DemoFailed("coordinator died before it finished")
                    if not outcome and not seen_alive and time.monotonic() > deadline_s:
                        log = self._flwr(self._flower.show_log(run), "read the coordinator's log")
                        raise DemoFailed(f"coordinator did not start: {_last_line(log)}")
                    seen_alive = seen_alive or alive
                if outcome.startswith("failed"):
                    raise DemoFailed(f"coordinator {outcome}")
                time.sleep(_POLL_S)
            self._watch_rounds(gateway)
        if fleet.process.popen.returncode != 0:
            supervisor.check()
        supervisor.forget("fleet")

    def _coordinator_config(self) -> dict[str, object]:
        deployment, options, population = self._deployment, self._options, self._population
        dataset = population.dataset
        features = ""
        if dataset.features is not None:
            path = deployment.path("coordinator", "features.npz")
            path.write_bytes(pack_arrays({"features": dataset.features}))
            features = str(path)
        devices = len(population.users)
        return {
            "state_dir": str(deployment.path("coordinator")),
            "ledger_address": f"127.0.0.1:{deployment.ports.ledger}",
            "ledger_ca": str(deployment.path("tls", "authority.pem")),
            "signing_key": str(deployment.key_file("coordinator")),
            "task_id": "demo-1",
            "population": POPULATION,
            "budget_account": ACCOUNT,
            "learner": "spectral",
            "epsilon": options.epsilon,
            "target_delta": self._delta,
            "signals": population.task_signals(),
            "n_items": dataset.n_items,
            "catalogue_sha256": population.catalogue.digest.hex(),
            "features": features,
            "cohort_expected": devices,
            "cohort_min": devices // 2,
            "cohort_max": devices,
            "rounds": options.rounds,
        }

    def _watch_rounds(self, gateway: gateway_pb2_grpc.GatewayServiceStub) -> None:
        """Remember what the gateway says of its rounds; it forgets when it restarts."""
        try:
            status = gateway.GatewayStatus(gateway_pb2.GatewayStatusRequest(), timeout=5.0)
        except grpc.RpcError:
            return
        for one in status.rounds:
            if one.open:
                self._progress.count(f"round {one.round_id}", one.contributed, one.eligible)
                continue
            self._progress.count(f"round {one.round_id}", one.contributed, one.contributed)
            self._rounds[one.round_id] = {
                "round_id": one.round_id,
                "eligible": one.eligible,
                "offered": one.offered,
                "contributed": one.contributed,
                "dropped_at_cutoff": one.dropped_at_cutoff,
                "refused": dict(one.refused),
            }
        path = self._deployment.path("rounds.json")
        path.write_text(json.dumps(list(self._rounds.values()), indent=2), encoding="utf-8")

    def _saved_rounds(self) -> dict[int, dict[str, Any]]:
        try:
            saved = json.loads(self._deployment.path("rounds.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {one["round_id"]: one for one in saved}

    def _flwr(self, command: list[str], what: str) -> str:
        """Run one of Flower's short commands and return what it printed."""
        done = subprocess.run(
            command, env=dict(self._flower_env), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise DemoFailed(f"could not {what}: {_last_line(done.stderr or done.stdout)}")
        return done.stdout


class _FleetOutput:
    """Reads the fleet's progress lines in a thread."""

    def __init__(self, process: Process, progress: Progress) -> None:
        self.process = process
        self.enrolled = 0
        self._progress = progress
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        stream = self.process.popen.stdout
        if stream is None:
            return
        for line in stream:
            said = json.loads(line)
            if said["phase"] == "enrolling devices":
                self.enrolled = said["done"]
            # Rounds are counted by the gateway: what it accepted, not what devices sent.
            if not said["phase"].startswith("round"):
                self._progress.count(said["phase"], said["done"], said["total"])


def _python(module: str, config: pathlib.Path, *, own: bool = True) -> list[str]:
    command = [sys.executable, "-m", module, "--config", str(config)]
    return [*command, "--exit-with-parent"] if own else command


def _listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.2):
            return True
    except OSError:
        return False


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def _alive(pid: str) -> bool:
    """Say whether a process runs; one that was killed and not yet reaped does not."""
    try:
        return bool(pid) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
