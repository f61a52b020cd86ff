"""`kill -9` while appends share commits: nothing that was answered is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).with_name("consent_kills.py")
DEVICES = 8


def kill(deployment: Any, directory: Path, first: int, stride: int, count: int) -> list[Any]:
    """Kill at `count` points, `stride` steps apart from `first` on."""
    stub, devices = deployment.stub(), list[dict[str, Any]]()
    for _ in range(DEVICES):
        device = deployment.device(stub)
        events: list[bytes] = []
        for number in range(count):
            events.append(device.event("withdrawn" if number % 2 else "given").to_bytes())
            device.chain.append(events[-1])
        devices.append(
            {
                "device": device.key.key_id,
                "key": device.key.public_key.hex(),
                "events": [data.hex() for data in events],
                "signatures": [device.key.sign("consent", data).hex() for data in events],
            }
        )
    deployment.stop()
    directory.mkdir()
    (directory / "devices.json").write_text(json.dumps(devices))
    done = subprocess.run(
        [
            *(sys.executable, _SCRIPT, deployment.config_path, directory),
            *(str(first), str(stride), str(count)),
        ],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(deployment: Any, outcomes: list[Any], count: int) -> None:
    assert len(outcomes) == count
    for one in outcomes:
        assert one["lost"] == 0, one
        assert one["found"] >= one["answered"], one
        assert one["unchanged"], one
        assert one["complete"], one
    assert deployment.verify().consent_size == count * DEVICES
    assert sum(one["killed"] for one in outcomes) >= count // 2
    # Kills fell before anything was durable and inside a batch that others were answered before,
    # and whole batches were durable that nobody had been told of.
    assert any(one["found"] == 0 for one in outcomes)
    assert any(one["found"] > one["answered"] for one in outcomes if one["killed"])


@pytest.mark.timeout(300)
def test_kills_inside_batches_lose_nothing_that_was_answered(
    deployment: Any, tmp_path: Path
) -> None:
    check(deployment, kill(deployment, tmp_path / "kills", 1, 5, 14), 14)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_hundreds_of_kills_inside_batches_lose_nothing_that_was_answered(
    deployment: Any, tmp_path: Path
) -> None:
    check(deployment, kill(deployment, tmp_path / "kills", 1, 1, 90), 90)
