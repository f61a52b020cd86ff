"""The supervisor: who may end, who may not, and that nobody outlives it."""

from __future__ import annotations

import pathlib
import sys
import time

import psutil
import pytest

from tacit.simulations.demo.supervisor import Process, Supervisor
from tacit.simulations.errors import DemoFailed

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def ended(process: Process) -> None:
    process.popen.wait(10)


def test_work_that_is_done_is_no_failure_but_a_failed_one_is(tmp_path: pathlib.Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        ended(supervisor.start("fleet", [sys.executable, "-c", ""], may_finish=True))
        supervisor.check()
        ended(supervisor.start("other", [sys.executable, "-c", "exit('no luck')"], may_finish=True))
        with pytest.raises(DemoFailed, match=r"other ended with code 1.*no luck"):
            supervisor.check()


def test_a_server_must_not_end_even_with_code_0(tmp_path: pathlib.Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        ended(supervisor.start("ledger", [sys.executable, "-c", ""]))
        with pytest.raises(DemoFailed, match="ledger ended with code 0"):
            supervisor.check()


def test_a_killed_process_is_named(tmp_path: pathlib.Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        process = supervisor.start("gateway", SLEEP)
        process.popen.kill()
        ended(process)
        with pytest.raises(DemoFailed, match="gateway was killed by signal 9"):
            supervisor.check()


def test_leaving_stops_everyone(tmp_path: pathlib.Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        pids = [supervisor.start(name, SLEEP).popen.pid for name in ("a", "b")]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_processes_stop_when_their_starter_is_killed(tmp_path: pathlib.Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from tacit.simulations.demo.supervisor import Supervisor\n"
        "started = Supervisor(Path(sys.argv[1])).start('a', sys.argv[2:])\n"
        "print(started.popen.pid, flush=True); time.sleep(60)"
    )
    with Supervisor(tmp_path / "outer") as outer:
        command = [sys.executable, "-c", program, str(tmp_path), *SLEEP]
        starter = outer.start("starter", command, read_output=True)
        assert starter.popen.stdout is not None
        pid = int(starter.popen.stdout.readline())
        time.sleep(0.5)  # the leash is put on by the new process itself
        starter.popen.kill()
        ended(starter)
        deadline_s = time.monotonic() + 10
        while psutil.pid_exists(pid) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert not psutil.pid_exists(pid)
