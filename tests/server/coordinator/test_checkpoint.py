from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.privacy.arrays import pack_arrays
from tacit.privacy.task import RoundPlan
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.errors import StateConflict

PLAN = RoundPlan(1, "popularity/1", 5, 1.0, 4096, 1.0, {})
INTEGERS = np.array([-(2**62), -1, 0, 1, 2**62], dtype=np.int64)


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def state(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "deep" / "state"


@pytest.fixture
def checkpoint(state: pathlib.Path) -> Checkpoint:
    return Checkpoint(state)


def test_is_empty_at_first_and_private(checkpoint: Checkpoint, state: pathlib.Path) -> None:
    assert checkpoint.task() is None
    assert checkpoint.noised_sum(PLAN) is None
    assert state.stat().st_mode & 0o077 == 0


def test_returns_what_was_saved_with_the_digest_of_its_file(
    checkpoint: Checkpoint, state: pathlib.Path
) -> None:
    digest = checkpoint.save_noised_sum(PLAN, INTEGERS)
    assert digest == hashlib.sha256((state / "round-001.npz").read_bytes()).hexdigest()
    saved = Checkpoint(state).noised_sum(PLAN)
    assert saved is not None
    assert np.array_equal(saved[0], INTEGERS)
    assert saved[0].dtype == np.int64
    assert saved[1] == digest


def test_keeps_a_task_exactly(checkpoint: Checkpoint, state: pathlib.Path, world: Any) -> None:
    world.train()
    checkpoint.save_task(world.manifest())
    assert Checkpoint(state).task() == world.manifest()


def test_never_replaces_a_noised_sum(checkpoint: Checkpoint) -> None:
    digest = checkpoint.save_noised_sum(PLAN, INTEGERS)
    with pytest.raises(StateConflict, match="refusing to replace"):
        checkpoint.save_noised_sum(PLAN, INTEGERS + 1)
    saved = checkpoint.noised_sum(PLAN)
    assert saved is not None
    assert saved[1] == digest


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_kill_before_the_rename_leaves_nothing(
    checkpoint: Checkpoint, state: pathlib.Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os if call == "fsync" else pathlib.Path, call, die)
        with pytest.raises(Killed):
            checkpoint.save_noised_sum(PLAN, INTEGERS)
    again = Checkpoint(state)
    assert again.noised_sum(PLAN) is None
    again.save_noised_sum(PLAN, INTEGERS + 1)  # over what the dead process left behind
    saved = again.noised_sum(PLAN)
    assert saved is not None
    assert np.array_equal(saved[0], INTEGERS + 1)


def test_a_file_is_on_the_disk_before_it_has_its_name(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, pathlib.Path.rename

    def synced(descriptor: int) -> None:
        calls.append("fsync")
        fsync(descriptor)

    def renamed(self: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        calls.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(pathlib.Path, "rename", renamed)
    checkpoint.save_noised_sum(PLAN, INTEGERS)
    assert calls == ["fsync", "rename", "fsync"]


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda data: b"",
    lambda data: data[: len(data) // 2],
    lambda data: data[:100] + b"\xff\xff\xff\xff" + data[104:],
    lambda data: b"not an archive",
    lambda data: pack_arrays({"other": INTEGERS}),
    lambda data: pack_arrays({"noised": INTEGERS[:4]}),
    lambda data: pack_arrays({"noised": INTEGERS.astype(np.float64)}),
    lambda data: pack_arrays({"noised": INTEGERS.astype(np.int32)}),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_sum_is_refused(checkpoint: Checkpoint, state: pathlib.Path, damage: Any) -> None:
    checkpoint.save_noised_sum(PLAN, INTEGERS)
    path = state / "round-001.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StateConflict, match="round 1"):
        checkpoint.noised_sum(PLAN)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"type":"tacit.task/2"}', "[1]"])
def test_a_damaged_task_is_refused(checkpoint: Checkpoint, state: pathlib.Path, text: str) -> None:
    (state / "task.json").write_text(text)
    with pytest.raises(StateConflict, match=r"task\.json is damaged"):
        checkpoint.task()


def test_rounds_have_files_of_their_own(checkpoint: Checkpoint) -> None:
    second = dataclasses.replace(PLAN, round_id=2)
    checkpoint.save_noised_sum(PLAN, INTEGERS)
    assert checkpoint.noised_sum(second) is None
    checkpoint.save_noised_sum(second, INTEGERS * 0)
    saved = checkpoint.noised_sum(PLAN)
    assert saved is not None
    assert np.array_equal(saved[0], INTEGERS)


def test_belongs_to_one_coordinator_at_a_time(state: pathlib.Path) -> None:
    with Checkpoint(state).exclusive():
        with (
            pytest.raises(StateConflict, match="another coordinator"),
            Checkpoint(state).exclusive(),
        ):
            pytest.fail("two coordinators in one directory")
        assert Checkpoint(state).task() is None  # reading is free
    with Checkpoint(state).exclusive():
        pass
