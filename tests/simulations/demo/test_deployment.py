"""What a deployment leaves on the disk, and for whom."""

from __future__ import annotations

import pathlib
import resource
import sys

from tacit.simulations.demo.deployment import Deployment
from tacit.simulations.demo.supervisor import Supervisor


def test_the_state_directory_is_its_owners_alone(tmp_path: pathlib.Path) -> None:
    deployment = Deployment(tmp_path / "state")
    folders = [deployment.state, *(p for p in deployment.state.iterdir() if p.is_dir())]
    assert len(folders) > 5
    assert [folder.name for folder in folders if folder.stat().st_mode & 0o077] == []


def test_the_superlink_keeps_its_messages_in_memory(tmp_path: pathlib.Path) -> None:
    command = Deployment(tmp_path / "state").flower().superlink()
    assert command[command.index("--database") + 1] == ":flwr-in-memory:"


def test_processes_leave_no_core_dump(tmp_path: pathlib.Path) -> None:
    program = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
    before = resource.getrlimit(resource.RLIMIT_CORE)
    with Supervisor(tmp_path) as supervisor:
        process = supervisor.start("probe", [sys.executable, "-c", program], read_output=True)
        said, _ = process.popen.communicate(timeout=30)
    assert said.strip() == "(0, 0)"
    assert resource.getrlimit(resource.RLIMIT_CORE) == before
