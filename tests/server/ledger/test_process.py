from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tacit.server.errors import BadConfig, StateCorrupt
from tacit.server.ledger.config import LedgerConfig


def run(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tacit.server.ledger", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_sigterm_stops_gracefully(deployment: Any) -> None:
    process, address = deployment.spawn()
    deployment.client("operator", address=address).create_tokens("shop", 1, time.time_ns())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process.stdout.close()


def test_a_port_in_use_is_one_line(deployment: Any, new_deployment: Callable[[str], Any]) -> None:
    address = deployment.server.address
    config = new_deployment("other").write_config(address)
    done = run(config)
    assert done.returncode == 1
    assert done.stdout == ""
    assert (
        done.stderr.splitlines()[-1] == f"tacit ledger: {address}: cannot be bound; is it in use?"
    )


def test_one_process_per_state_directory(deployment: Any) -> None:
    deployment.start()
    done = run(deployment.config_path)
    assert done.returncode == 1
    assert "another process holds" in done.stderr


def test_it_exits_when_its_parent_dies(deployment: Any) -> None:
    script = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'tacit.server.ledger', '--config', "
        "sys.argv[1], '--exit-with-parent'], stdout=subprocess.PIPE, text=True)\n"
        "p.stdout.readline(); print(p.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(deployment.config_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extra": 1}, "unknown key 'extra'"),
        ({"address": 5}, "expected text"),
        ({"origin": "a b"}, "origin"),
        ({"principals": {}}, "a list"),
        ({"principals": [{"name": "x", "role": "root", "public_key": "00" * 32}]}, "role"),
        ({"principals": [{"name": "x", "role": "gateway", "public_key": "zz"}]}, "public_key"),
        (
            {"principals": [{"name": "x", "role": "gateway", "public_key": "00" * 32}] * 2},
            "each key once",
        ),
    ],
)
def test_bad_configurations_are_refused(
    deployment: Any, changes: dict[str, Any], words: str
) -> None:
    path = deployment.write_config(**changes)
    with pytest.raises(BadConfig, match=words):
        LedgerConfig.load(path)


def test_unreadable_configurations_and_keys_are_refused(deployment: Any, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="JSON"):
        LedgerConfig.load(tmp_path / "none.json")
    document = json.loads(deployment.config_path.read_text())
    del document["origin"]
    deployment.config_path.write_text(json.dumps(document))
    with pytest.raises(BadConfig, match="'origin' is missing"):
        LedgerConfig.load(deployment.config_path)
    config = LedgerConfig.load(deployment.write_config(signing_key=str(tmp_path / "none")))
    with pytest.raises(BadConfig, match="64 hexadecimal"):
        config.read_signing_key()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE leaves SET data = x'00' WHERE log = 'governance' AND position = 1",
        "DELETE FROM leaves WHERE log = 'governance' AND position = 1",
        "DELETE FROM leaves WHERE log = 'governance' AND position = 8",
        "DELETE FROM checkpoints WHERE log = 'consent'",
    ],
)
def test_an_edited_database_is_not_served(deployment: Any, statement: str) -> None:
    deployment.run_task(devices=1)
    deployment.stop()
    deployment.execute(statement)
    with pytest.raises(StateCorrupt):
        deployment.start()


def test_one_process_per_database(deployment: Any, new_deployment: Callable[[str], Any]) -> None:
    if not deployment.database:
        pytest.skip("SQLite's database lies in its state directory")
    deployment.start()
    other = new_deployment("other")
    done = run(other.write_config(database=deployment.database))
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == "tacit ledger: another ledger node holds the database; only one may write it"
    )
    deployment.stop()
    other.start()


def test_a_file_that_is_no_database_is_refused(deployment: Any) -> None:
    if deployment.database:
        pytest.skip("of SQLite's file")
    deployment.state_dir.mkdir()
    (deployment.state_dir / "ledger.sqlite").write_bytes(os.urandom(8192))
    with pytest.raises(StateCorrupt, match="not a readable"):
        deployment.start()


def test_devices_and_states_survive_a_restart(deployment: Any) -> None:
    device = deployment.device()
    device.append(device.event())
    deployment.stop()
    (state,) = deployment.client("gateway").consent_states("learn", [device.key.key_id])
    assert state.granted
    device.stub = deployment.stub()
    device.append(device.event("withdrawn"))
    (state,) = deployment.client("gateway").consent_states("learn", [device.key.key_id])
    assert (state.granted, state.sequence) == (False, 2)
