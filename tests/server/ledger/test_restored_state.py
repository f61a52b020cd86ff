"""A database that was put back to an older state: node, coordinator and device each refuse it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tacit.client import (
    Catalogue,
    DeviceSession,
    Endpoints,
    FileKeyProvider,
    Personalizer,
    Rejected,
    TrustRoots,
)
from tacit.client.errors import RollbackRefused
from tacit.client.transport import Connection
from tacit.privacy.checkpoint import stated_checkpoint
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.errors import StateConflict
from tacit.server.coordinator.remembered_ledger import RememberedLedger
from tacit.server.errors import BadConfig, StateCorrupt
from tacit.server.ledger.contents import read_node
from tacit.server.ledger.export import write_export


def anchor_of(deployment: Any) -> Path:
    path: Path = deployment.config.anchor_dir
    return path


def spend(deployment: Any, task: Any, round_id: int) -> None:
    coordinator = deployment.client("coordinator")
    coordinator.reserve(deployment.reserve(task, round_id))
    coordinator.commit("main", f"{task.task_id}/{round_id}", "ab" * 32)


@pytest.fixture
def rolled_back(deployment: Any) -> Any:
    """A stopped node whose database holds one of the two spends that it answered."""
    task = deployment.open_account()
    spend(deployment, task, 1)
    deployment.stop()
    kept = deployment.keep_copy()
    deployment.start()
    spend(deployment, task, 2)
    deployment.stop()
    deployment.put_back(kept)
    deployment.task_of_it = task
    return deployment


class TestNode:
    def test_refuses_in_one_line_and_says_what_to_do(self, rolled_back: Any) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tacit.server.ledger", "--config", rolled_back.config_path],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert "governance log: the database holds 4 entries, fewer than the 6" in line
        assert "restore the newest database" in line
        with pytest.raises(StateCorrupt, match="put back to an older state"):
            rolled_back.start()

    def test_refuses_another_history_of_the_same_length(
        self, rolled_back: Any, tmp_path: Path
    ) -> None:
        newest = tmp_path / "newest"
        shutil.move(anchor_of(rolled_back), newest)
        note = rolled_back.execute(
            "SELECT note FROM checkpoints WHERE log = 'governance' ORDER BY size DESC LIMIT 1"
        )[0][0]
        anchor_of(rolled_back).mkdir()
        (anchor_of(rolled_back) / "governance").write_bytes(bytes(note))
        spend(rolled_back, rolled_back.task_of_it, 3)
        rolled_back.stop()
        shutil.rmtree(anchor_of(rolled_back))
        shutil.move(newest, anchor_of(rolled_back))
        with pytest.raises(StateCorrupt, match="holds 6 entries, not those of the 6"):
            rolled_back.start()

    def test_refuses_a_log_without_its_anchor(self, deployment: Any, tmp_path: Path) -> None:
        deployment.open_account()
        deployment.stop()
        write_export(read_node(deployment.config), tmp_path / "export")
        shutil.rmtree(anchor_of(deployment))
        with pytest.raises(StateCorrupt, match="has 2 entries but no anchor"):
            deployment.start()
        # What the message says to do: the log's checkpoint from a trusted export is an anchor.
        shutil.copy(tmp_path / "export" / "governance" / "checkpoint", anchor_of(deployment))
        (anchor_of(deployment) / "checkpoint").rename(anchor_of(deployment) / "governance")
        deployment.start()

    @pytest.mark.parametrize("content", [b"", b"tacit.example\n", os.urandom(300)])
    def test_refuses_a_damaged_anchor(self, deployment: Any, content: bytes) -> None:
        deployment.open_account()
        deployment.stop()
        (anchor_of(deployment) / "governance").write_bytes(content)
        with pytest.raises(StateCorrupt, match="anchor"):
            deployment.start()

    def test_refuses_an_anchor_signed_by_another_ledger(
        self, deployment: Any, new_deployment: Callable[[str], Any]
    ) -> None:
        other = new_deployment("other")
        for one in (deployment, other):
            one.open_account()
            one.stop()
        shutil.copy(anchor_of(other) / "governance", anchor_of(deployment) / "governance")
        with pytest.raises(StateCorrupt, match="signature"):
            deployment.start()

    def test_an_anchor_that_cannot_be_written_is_one_line(self, deployment: Any) -> None:
        anchor_of(deployment).write_text("a file")
        with pytest.raises(BadConfig, match="cannot be used"):
            deployment.start()

    def test_starts_where_a_crash_left_the_anchor_behind(
        self, deployment: Any, tmp_path: Path
    ) -> None:
        task = deployment.open_account()
        shutil.copytree(anchor_of(deployment), tmp_path / "before")
        spend(deployment, task, 1)
        deployment.stop()
        shutil.rmtree(anchor_of(deployment))
        shutil.copytree(tmp_path / "before", anchor_of(deployment))
        deployment.start()
        assert sizes(deployment) == (4, 0)

    def test_every_governance_entry_is_anchored_before_it_is_answered(
        self, deployment: Any
    ) -> None:
        task = deployment.open_account()
        assert sizes(deployment) == (2, 0)
        coordinator = deployment.client("coordinator")
        coordinator.reserve(deployment.reserve(task, 1))
        assert sizes(deployment) == (3, 0)
        coordinator.commit("main", "task-1/1", "ab" * 32)
        assert sizes(deployment) == (4, 0)

    def test_consents_are_anchored_at_the_latest_when_the_node_stops(self, deployment: Any) -> None:
        device = deployment.device()
        device.append(device.event())
        device.append(device.event("withdrawn"))
        deployment.stop()
        assert sizes(deployment) == (0, 2)

    def test_a_path_of_its_own_choice(self, deployment: Any, tmp_path: Path) -> None:
        deployment.write_config(anchor=str(tmp_path / "elsewhere" / "anchor"))
        deployment.open_account()
        assert sizes(deployment) == (2, 0)
        assert (tmp_path / "elsewhere" / "anchor" / "governance").exists()


def sizes(deployment: Any) -> tuple[int, ...]:
    """Return what the anchor says of both logs."""
    return tuple(
        stated_checkpoint((anchor_of(deployment) / name).read_bytes()).size
        for name in ("governance", "consent")
    )


class TestThoseWhoRemember:
    """An operator who puts back an old anchor beside an old database gets the node to start."""

    def test_the_coordinator_refuses(self, deployment: Any, tmp_path: Path) -> None:
        task = deployment.open_account()
        checkpoint = Checkpoint(tmp_path / "coordinator")
        deployment.stop()
        kept, anchor = deployment.keep_copy(), tmp_path / "anchor"
        shutil.copytree(anchor_of(deployment), anchor)

        ledger = RememberedLedger(deployment.client("coordinator"), checkpoint)
        ledger.look()
        ledger.reserve(deployment.reserve(task, 1))
        ledger.commit("main", "task-1/1", "ab" * 32)
        deployment.stop()
        deployment.put_back(kept)
        shutil.rmtree(anchor_of(deployment))
        shutil.copytree(anchor, anchor_of(deployment))

        again = RememberedLedger(
            deployment.client("coordinator"), Checkpoint(tmp_path / "coordinator")
        )
        for act in (
            again.look,
            lambda: again.reserve(deployment.reserve(task, 1)),
            lambda: again.commit("main", "task-1/1", "ab" * 32),
            lambda: again.append_governance("task", task.to_json()),
        ):
            with pytest.raises(StateConflict, match="contain the 4 entries it had before"):
                act()
        assert deployment.node.budget.show("main")[1] == []
        # Nor once the forgotten history has been overgrown by another one.
        for round_id in (2, 3):
            spend(deployment, task, round_id)
        with pytest.raises(StateConflict, match="refusing to train"):
            again.look()

    def test_the_coordinator_refuses_another_ledger(
        self, deployment: Any, new_deployment: Callable[[str], Any], tmp_path: Path
    ) -> None:
        deployment.open_account()
        checkpoint = Checkpoint(tmp_path / "coordinator")
        RememberedLedger(deployment.client("coordinator"), checkpoint).look()
        other = new_deployment("other")
        other.open_account()
        with pytest.raises(StateConflict, match="refusing to train"):
            RememberedLedger(other.client("coordinator"), checkpoint).look()

    def test_a_damaged_memory_is_not_forgotten(self, deployment: Any, tmp_path: Path) -> None:
        deployment.open_account()
        ledger = RememberedLedger(deployment.client("coordinator"), Checkpoint(tmp_path))
        ledger.look()
        (tmp_path / "ledger-checkpoint").write_bytes(b"nothing")
        with pytest.raises(StateConflict, match="damaged"):
            ledger.look()

    def test_the_device_refuses(self, deployment: Any, tmp_path: Path) -> None:
        (token,) = deployment.client("operator").create_tokens(
            "shop", 1, time.time_ns() // 1_000_000 + 60_000
        )
        catalogue = Catalogue.build([("i1", "Item 1", [])])
        device = Personalizer.open(
            tmp_path / "device.db", FileKeyProvider(tmp_path / "keys"), catalogue
        )
        trust = TrustRoots(
            "test.example/governance",
            "test.example/consent",
            deployment.node_key.public_key,
            deployment.keys["coordinator"].public_key,
        )

        def session() -> tuple[Connection, DeviceSession]:
            address = deployment.server.address
            endpoints = Endpoints(address, address, deployment.authority.certificate_pem)
            connection = Connection(endpoints)
            servers = connection.servers(device.facts.identity(), device.clock_ms)
            return connection, DeviceSession(device, servers, trust)

        with device:
            connection, first = session()
            with connection:
                first.enrol(token)
            deployment.stop()
            kept, anchor = deployment.keep_copy(), tmp_path / "anchor"
            shutil.copytree(anchor_of(deployment), anchor)
            connection, second = session()
            with connection:
                device.consent("learn", ["product_view"], True)
                assert second.push_consents() == 1
            deployment.stop()
            deployment.put_back(kept)
            shutil.rmtree(anchor_of(deployment))
            shutil.copytree(anchor, anchor_of(deployment))
            connection, third = session()
            with connection:
                device.consent("learn", None, False)
                with pytest.raises((RollbackRefused, Rejected), match=r"remembers|at least"):
                    third.push_consents()
