"""The demo, start to finish.

    witness ─▶ ledger ─▶ account, notice, tokens ─▶ SuperLink, gateway, SuperNode ─▶ fleet enrols
      ─▶ flwr run (coordinator) ─▶ rounds ─▶ release ─▶ devices install and recommend
      ─▶ everything stops ─▶ ledger exported and verified offline ─▶ report

Any process may be killed at any time: the demo then stops the others, says which one died, and
`--resume` goes on from what is on disk.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import time
from typing import Any

from tacit.server.coordinator.superlink import APP_DIR
from tacit.simulations.demo import configurations
from tacit.simulations.demo.account import open_account
from tacit.simulations.demo.deployment import Deployment
from tacit.simulations.demo.descendants import Descendants
from tacit.simulations.demo.feasibility import check_feasible
from tacit.simulations.demo.options import DemoOptions
from tacit.simulations.demo.population import DemoPopulation, demo_population
from tacit.simulations.demo.report import build_report
from tacit.simulations.demo.supervisor import Supervisor
from tacit.simulations.demo.watch import CoordinatorWatch, FleetWatch, Progress, RoundWatch
from tacit.simulations.errors import DemoFailed
from tacit.simulations.simulate import default_delta

_START_TIMEOUT_S = 60.0
_POLL_S = 0.25


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
        self._delta = default_delta(len(self._population.users))
        check_feasible(options, self._population, self._delta)
        self._deployment = Deployment(state)
        options.save(self._deployment.state)
        self._flower = self._deployment.flower()
        self._descendants = Descendants()

    def run(self) -> dict[str, Any]:
        """Run or resume; returns the report.

        Raises:
            DemoFailed: if a process ended before its time, naming it and how to go on.
        """
        started_s = time.monotonic()
        deployment = self._deployment
        rounds = RoundWatch(
            deployment.bridge_socket, deployment.path("rounds.json"), self._progress
        )
        try:
            with self._descendants, Supervisor(deployment.path("logs")) as supervisor:
                try:
                    self._bring_up_servers(supervisor)
                    fleet = self._start_fleet(supervisor)
                    self._connect_flower(supervisor)
                    self._wait_for_enrolment(supervisor, fleet)
                    self._train(supervisor, fleet, rounds)
                    self._progress.step("stopping every process")
                finally:
                    self._descendants.note()
        finally:
            rounds.close()
            deployment.clean_up()
        self._progress.step("verifying the ledger offline")
        return build_report(
            deployment, self._population, rounds.rounds, time.monotonic() - started_s
        )

    def _bring_up_servers(self, supervisor: Supervisor) -> None:
        """Start witness, ledger, SuperLink and gateway; the slow SuperLink is waited for later."""
        self._progress.step("starting ledger, witness, SuperLink and gateway")
        deployment = self._deployment
        # First, so that the ledger finds it: the devices go by cosigned checkpoints alone.
        config = deployment.write_config("witness", configurations.witness_config(deployment))
        supervisor.start("witness", _python("tacit.server.witness", config), stops_last=True)
        self._wait_listening(supervisor, "witness")
        config = deployment.write_config("ledger", configurations.ledger_config(deployment))
        supervisor.start("ledger", _python("tacit.server.ledger", config))
        supervisor.start("superlink", self._flower.superlink(), env=self._flower.environment())
        self._wait_listening(supervisor, "ledger")
        devices = len(self._population.users)
        open_account(deployment, self._options.epsilon, self._delta, devices)
        config = deployment.write_config("gateway", configurations.gateway_config(deployment))
        supervisor.start("gateway", _python("tacit.server.gateway", config))
        self._wait_listening(supervisor, "gateway")

    def _start_fleet(self, supervisor: Supervisor) -> FleetWatch:
        deployment = self._deployment
        config = deployment.write_config(
            "fleet", configurations.fleet_config(deployment, self._options, self._delta)
        )
        command = _python("tacit.simulations.fleet", config)
        process = supervisor.start("fleet", command, read_output=True, may_finish=True)
        return FleetWatch(process, self._progress)

    def _connect_flower(self, supervisor: Supervisor) -> None:
        """Let the gateway's SuperNode join the SuperLink, while devices enrol."""
        self._wait_listening(supervisor, "superlink")
        self._flwr(self._flower.register_supernode(), "register the SuperNode's key")
        supervisor.start(
            "supernode",
            self._flower.supernode(self._deployment.bridge_socket),
            env=self._flower.environment(),
        )

    def _wait_for_enrolment(self, supervisor: Supervisor, fleet: FleetWatch) -> None:
        """The first training round should find everybody; enrolment takes as long as it takes."""
        total = len(self._population.users)
        supervisor.wait_for("fleet", lambda: fleet.enrolled >= total, _START_TIMEOUT_S + total)

    def _train(self, supervisor: Supervisor, fleet: FleetWatch, rounds: RoundWatch) -> None:
        """Start the coordinator, watch it and the rounds, and wait for the fleet's report."""
        deployment = self._deployment
        self._progress.step("starting the coordinator")
        coordinator = CoordinatorWatch(deployment.path("coordinator"))
        config = deployment.write_config(
            "coordinator",
            configurations.coordinator_config(
                deployment, self._options, self._population, self._delta
            ),
        )
        run = self._flwr(self._flower.run_task(self._app, config), "start the coordinator")
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not fleet.finished:
            self._descendants.note()
            supervisor.check()
            rounds.look()
            coordinator.look()
            if not coordinator.started and time.monotonic() > deadline_s:
                log = self._flwr(self._flower.show_log(run), "read the coordinator's log")
                raise DemoFailed(f"coordinator did not start: {_last_line(log)}")
            time.sleep(_POLL_S)
        supervisor.check()
        rounds.look()

    def _wait_listening(self, supervisor: Supervisor, name: str) -> None:
        address = self._deployment.address(name)
        supervisor.wait_for(name, lambda: _listening(address), _START_TIMEOUT_S)

    def _flwr(self, command: list[str], what: str) -> str:
        """Run one of Flower's short commands and return what it printed."""
        environment = dict(self._flower.environment())
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoFailed(f"could not {what}: {_last_line(done.stderr or done.stdout)}")
        return done.stdout


def _python(module: str, config: pathlib.Path) -> list[str]:
    return [sys.executable, "-m", module, "--config", str(config)]


def _listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=0.2):
        return True
    return False


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
