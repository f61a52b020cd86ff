"""Watching a demo: the fleet's progress, the gateway's rounds, the coordinator's life."""

from __future__ import annotations

import json
import pathlib
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import grpc
import psutil

from tacit.simulations.demo.supervisor import Process
from tacit.simulations.errors import DemoFailed
from tacit.v1 import gateway_pb2, gateway_pb2_grpc

_STATUS_TIMEOUT_S = 5.0


class Progress(Protocol):
    """Hears how far the demo is."""

    def step(self, text: str) -> None:
        """Begin a step that has no count."""
        ...

    def count(self, phase: str, done: int, total: int) -> None:
        """Report a phase's count."""
        ...


class FleetWatch:
    """Reads the fleet's progress lines in a thread.

    Attributes:
        process: the fleet.
        enrolled: devices that have enrolled.
    """

    def __init__(self, process: Process, progress: Progress) -> None:
        self.process = process
        self.enrolled = 0
        self._progress = progress
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def finished(self) -> bool:
        """Whether the fleet's day is over."""
        return self.process.popen.poll() is not None

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


class RoundWatch:
    """Remembers what the gateway says of its rounds; the gateway forgets when it restarts.

    Args:
        socket: the gateway's bridge socket.
        saved: file that keeps the counts across restarts of the demo.
        progress: hears each round's count.
    """

    def __init__(self, socket: pathlib.Path, saved: pathlib.Path, progress: Progress) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._gateway = gateway_pb2_grpc.GatewayServiceStub(self._channel)
        self._saved = saved
        self._progress = progress
        self.rounds: dict[int, Mapping[str, Any]] = _saved_rounds(saved)

    def look(self) -> None:
        """Ask the gateway once; one that does not answer is asked again next time."""
        try:
            status = self._gateway.GatewayStatus(
                gateway_pb2.GatewayStatusRequest(), timeout=_STATUS_TIMEOUT_S
            )
        except grpc.RpcError:
            return
        for one in status.rounds:
            expected = one.eligible if one.open else one.contributed
            self._progress.count(f"round {one.round_id}", one.contributed, expected)
            if not one.open:
                self.rounds[one.round_id] = {
                    "round_id": one.round_id,
                    "eligible": one.eligible,
                    "offered": one.offered,
                    "contributed": one.contributed,
                    "dropped_at_cutoff": one.dropped_at_cutoff,
                    "refused": dict(one.refused),
                }
        self._saved.write_text(json.dumps(list(self.rounds.values()), indent=2), encoding="utf-8")

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class CoordinatorWatch:
    """Tells whether the coordinator runs, has finished, or died; by the files it writes.

    Args:
        state_dir: the coordinator's state directory; what an earlier one left there is removed.
    """

    def __init__(self, state_dir: pathlib.Path) -> None:
        self._outcome = state_dir / "outcome.txt"
        self._pid = state_dir / "coordinator.pid"
        self._outcome.unlink(missing_ok=True)
        self._pid.unlink(missing_ok=True)
        self.started = False

    def look(self) -> None:
        """Look once.

        Raises:
            DemoFailed: if the coordinator failed, or died without saying how it ended.
        """
        alive = _alive(_read(self._pid))
        # In this order: it writes its outcome before it removes its id.
        outcome = _read(self._outcome)
        if outcome.startswith("failed"):
            raise DemoFailed(f"coordinator {outcome}")
        if self.started and not alive and not outcome:
            raise DemoFailed("coordinator died before it finished")
        self.started = self.started or alive or bool(outcome)


def _saved_rounds(path: pathlib.Path) -> dict[int, Mapping[str, Any]]:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {one["round_id"]: one for one in saved}


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _alive(pid: str) -> bool:
    """Say whether a process runs; one that was killed and not yet reaped does not."""
    try:
        return bool(pid) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
