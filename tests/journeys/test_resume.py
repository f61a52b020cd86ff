"""Kill -9 any one process mid-training; `tacit demo --resume` finishes and spends nothing twice."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import sys
import time

import psutil
import pytest

from tacit.privacy.governance import GovernanceEntry
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.ledger.contents import read_database
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.verify import verify_export

TACIT = [sys.executable, "-c", "from tacit.cli.main import main; main()"]
TIMEOUT_S = 300
MARKS = {
    "ledger": "tacit.server.ledger",
    "witness": "tacit.server.witness",
    "gateway": "tacit.server.gateway",
    "fleet": "tacit.simulations.fleet",
    "superlink": "flower-superlink",
    "supernode": "flower-supernode",
}


def victim_pid(victim: str, demo: subprocess.Popen[str], state: pathlib.Path) -> int:
    if victim == "demo":
        return demo.pid
    if victim == "coordinator":
        return int((state / "coordinator" / "coordinator.pid").read_text(encoding="ascii"))
    for process in psutil.Process(demo.pid).children():
        if any(MARKS[victim] in part for part in process.cmdline()):
            return process.pid
    raise AssertionError(f"{victim} is not running")


def assert_spent_covers_released(state: pathlib.Path) -> int:
    """Every noised sum on disk has a reservation in the ledger; returns how many there are."""
    entries = [
        GovernanceEntry.parse(data)
        for data in read_database(state / "ledger").logs[GOVERNANCE].entries
    ]
    reserved = {str(e.body["round_id"]) for e in entries if e.kind == "budget.reserve"}
    checkpoint = Checkpoint(state / "coordinator")
    task = checkpoint.task()
    assert task is not None
    saved = {str(plan.round_id) for plan in task.rounds if checkpoint.noised_sum(plan)}
    assert saved <= reserved
    return len(saved)


def processes_of(state: pathlib.Path) -> list[str]:
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] and any(str(state) in part for part in process.info["cmdline"])
    ]


@pytest.mark.parametrize(
    "victim",
    [
        "coordinator",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("ledger", "witness", "gateway", "fleet", "superlink", "supernode", "demo")
        ),
    ],
)
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_resume_after_kill(victim: str, tmp_path: pathlib.Path) -> None:
    state = tmp_path / "state"
    demo = subprocess.Popen(
        [*TACIT, "demo", "--short", "--state", str(state)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (state / "coordinator" / "round-001.npz").exists():
            assert demo.poll() is None, demo.stderr and demo.stderr.read()
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        psutil.Process(victim_pid(victim, demo, state)).kill()
        _, said = demo.communicate(timeout=TIMEOUT_S)
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode != 0
    if victim != "demo":
        assert f"{victim} " in said
        assert f"tacit demo --resume {state}" in said.replace("\n", "")
    released_before = assert_spent_covers_released(state)
    assert released_before >= 1
    saved = {p.name: p.read_bytes() for p in (state / "coordinator").glob("round-*.npz")}
    while processes_of(state):  # the kernel tells orphans to stop; give them a moment
        assert time.monotonic() < deadline_s, processes_of(state)
        time.sleep(0.1)

    report_path = tmp_path / "report.json"
    subprocess.run(
        [*TACIT, "demo", "--resume", str(state), "--json", str(report_path)],
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    report = json.loads(report_path.read_text(encoding="utf-8"))
    assert_spent_covers_released(state)
    verified = verify_export(state / "ledger-export")
    (account,) = verified.accounts
    # Each round was paid for once: as many commits as rounds, and epsilon as planned.
    assert account.committed == report["privacy"]["rounds"]
    assert account.reserved == account.aborted == 0
    assert account.spent_epsilon == account.released_epsilon <= account.cap_epsilon
    # What had been released was not drawn again.
    for name, content in saved.items():
        assert (state / "coordinator" / name).read_bytes() == content
    commits = {
        str(e.body["release_sha256"])
        for e in map(
            GovernanceEntry.parse, read_database(state / "ledger").logs[GOVERNANCE].entries
        )
        if e.kind == "budget.commit"
    }
    files = (state / "coordinator").glob("round-*.npz")
    assert commits == {hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
