"""A grandchild in a session of its own does not outlive the demo."""

from __future__ import annotations

import subprocess
import sys

import psutil

from tacit.simulations.demo.descendants import Descendants

_SLEEP = "import time; time.sleep(60)"
_PARENT = (
    "import subprocess, sys, time;"
    f"p = subprocess.Popen([sys.executable, '-c', {_SLEEP!r}], start_new_session=True);"
    "print(p.pid, flush=True); time.sleep(60)"
)


def test_an_orphan_in_another_session_is_ended_and_others_are_not() -> None:
    with subprocess.Popen([sys.executable, "-c", _SLEEP]) as bystander:
        with Descendants() as descendants:
            parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE)
            assert parent.stdout is not None
            orphan = psutil.Process(int(parent.stdout.readline()))
            descendants.note()
            parent.kill()
            parent.wait()
            parent.stdout.close()
            assert orphan.is_running()
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert bystander.poll() is None
        bystander.kill()
