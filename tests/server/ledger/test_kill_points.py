"""`kill -9` between reserve and commit: what was answered is there, and spent never lags behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.canonical import canonical_json

_SCRIPT = Path(__file__).with_name("kill_points.py")


def kill(deployment: Any, directory: Path, name: str, first: int, count: int) -> list[Any]:
    """Kill at `count` points from step `first` on, each in a round of its own."""
    epsilon = epsilon_bound([GaussianEvent(1000.0, count)], deployment.delta)
    task = deployment.task(rounds=count, z=1000.0, task_id=name, epsilon=epsilon)
    deployment.client("coordinator").append_governance("task", task.to_json())
    deployment.stop()
    key = directory / "coordinator.key"
    key.write_text(deployment.keys["coordinator"].private_bytes().hex())
    (directory / f"{name}.json").write_bytes(canonical_json(task.to_json()))
    done = subprocess.run(
        [
            *(sys.executable, _SCRIPT, deployment.config_path, key),
            *(directory / f"{name}.json", directory / name, str(first), str(count)),
        ],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(outcomes: list[Any], count: int) -> Counter[tuple[int, int, int]]:
    """Check every kill point; returns how many left which state of their round behind."""
    assert len(outcomes) == count
    states = Counter[tuple[int, int, int]]()
    earlier = {"reserved": 0, "committed": 0, "sums": 0}
    for one in outcomes:
        before, after = one["before"], one["after"]
        for state in (before, after):
            assert state["spent"] >= state["released"], one
            assert state["spent"] == state["recomposed"], one
            assert state["one_sum"], one
            assert state["log_agrees"], one
        assert one["kept"], one
        assert one["idempotent"], one
        assert after["reserved"] == after["committed"] == after["sums"], one
        assert after["reserved"] == earlier["reserved"] + 1, one
        left = tuple(before[name] - earlier[name] for name in ("reserved", "sums", "committed"))
        assert left in {(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)}, one
        states[left[0], left[1], left[2]] += one["killed"]
        earlier = after
    return states


@pytest.mark.timeout(300)
def test_one_pass_over_every_step(deployment: Any, tmp_path: Path) -> None:
    deployment.client("operator").append_governance("account", deployment.account(50.0).to_json())
    outcomes = kill(deployment, tmp_path, "task-1", 1, 80)
    states = check(outcomes, 80)
    # Kills fell before the spend, between spend and sum, between sum and commit, and after it.
    assert all(states[left] > 0 for left in ((0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1))), states
    assert sum(states.values()) >= 50
    # The whole of a round has fewer steps than were tried: the pass is complete.
    assert sum(not one["killed"] for one in outcomes) >= 1


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", [1, 20])
def test_twelve_hundred_kill_points(
    deployment: Any, tmp_path: Path, first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """300 on each database from each of two first steps; every pass meets every step."""
    deployment.client("operator").append_governance("account", deployment.account(50.0).to_json())
    states = check(kill(deployment, tmp_path, "task-1", first, 300), 300)
    kind = "postgresql" if deployment.database else "sqlite"
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kind}: killed {sum(states.values())} times; left (spend, sum, commit): "
            + ", ".join(f"{left} {count}" for left, count in sorted(states.items()))
            + "\n"
        )
    assert sum(states.values()) >= 285
