"""Start, watch and stop the processes of a deployment on this machine.

Every process gets a log file, a process group of its own and a leash (`leash.py`): the kernel
tells it to stop when this process dies, and it leaves no core dump. Flower's processes start
children of their own; stopping a process stops its whole group.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tacit.simulations.demo import leash
from tacit.simulations.errors import DemoFailed

_POLL_S = 0.1
_TAIL_LINES = 3


@dataclass(frozen=True, slots=True)
class Process:
    """One supervised process.

    Attributes:
        name: as people know it: `ledger`, `superlink`, `gateway`, `supernode`, `fleet`.
        popen: the handle.
        log: its standard error (and output, unless read by the caller).
        may_finish: ending with code 0 is no failure.
        stops_last: others need it while they stop.
    """

    name: str
    popen: subprocess.Popen[str]
    log: pathlib.Path
    may_finish: bool
    stops_last: bool


class Supervisor:
    """Owns the processes it started; use as a context manager."""

    def __init__(self, log_dir: pathlib.Path) -> None:
        self._log_dir = log_dir
        self._processes: dict[str, Process] = {}
        log_dir.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        read_output: bool = False,
        may_finish: bool = False,
        stops_last: bool = False,
    ) -> Process:
        """Start a process; its output goes to `NAME.log`.

        Args:
            name: unique name.
            command: program and arguments.
            env: its environment; ours by default.
            read_output: keep standard output as a pipe for the caller to read.
            may_finish: it has work that ends; ending with code 0 is then no failure.
            stops_last: others need it while they stop.
        """
        log = self._log_dir / f"{name}.log"
        with log.open("ab") as file:
            popen = subprocess.Popen(
                [sys.executable, "-I", leash.__file__, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if read_output else file,
                stderr=file,
                env=None if env is None else dict(env),
                text=True,
                start_new_session=True,
            )
        process = Process(name, popen, log, may_finish, stops_last)
        self._processes[name] = process
        return process

    def wait_for(self, name: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()`; fail clearly if the process dies or takes too long.

        Raises:
            DemoFailed: naming the process, its log and its last lines.
        """
        deadline_s = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline_s:
                raise DemoFailed(
                    f"{name} was not ready after {timeout_s:.0f} s; see {self._log(name)}"
                )
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Fail if a supervised process has ended.

        Raises:
            DemoFailed: naming the process and its last log lines.
        """
        for process in self._processes.values():
            code = process.popen.poll()
            if code is not None and not (code == 0 and process.may_finish):
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                raise DemoFailed(f"{process.name} {how}{_tail(process.log)}")

    def stop(self, grace_s: float = 5.0) -> None:
        """Stop every process group, last started first: SIGTERM, then SIGKILL after `grace_s`."""
        processes = list(reversed(self._processes.values()))
        self._processes = {}
        _stop([one for one in processes if not one.stops_last], grace_s)
        _stop([one for one in processes if one.stops_last], grace_s)

    def _log(self, name: str) -> pathlib.Path:
        return self._log_dir / f"{name}.log"


def _stop(processes: Sequence[Process], grace_s: float) -> None:
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    deadline_s = time.monotonic() + grace_s
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(max(0.1, deadline_s - time.monotonic()))
        # Children of Flower's processes may outlive their parent for a moment; none may stay.
        _signal_group(process, signal.SIGKILL)
        process.popen.wait()
        if process.popen.stdout is not None:
            process.popen.stdout.close()


def _signal_group(process: Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.popen.pid, number)
    except ProcessLookupError:
        return


def _tail(log: pathlib.Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    shown = " | ".join(line.strip() for line in lines if line.strip())
    return f"; log {log}: {shown}" if shown else f"; log {log}"
