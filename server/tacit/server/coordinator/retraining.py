"""What a coordinator reads of the governance log when its task retrains after an erasure."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.lineage import Lineage
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import ENTRY_KIND, Retraining
from tacit.privacy.task import TaskManifest
from tacit.server.coordinator.config import CoordinatorConfig
from tacit.server.errors import BadConfig


class EntryLog(Protocol):
    """What is asked of the ledger (`tacit.server.ledger.client.LedgerClient` has it)."""

    def entries(self, start: int = 0, count: int = 1000) -> list[bytes]:
        """Return up to `count` governance entries from `start`."""
        ...


def read_lineage(log: EntryLog, population: str) -> Lineage:
    """Read a population's tasks, releases and retrainings from the governance log."""
    tasks: dict[str, TaskManifest] = {}
    releases: dict[int, ReleaseManifest] = {}
    retrainings: dict[str, Retraining] = {}
    start = 0
    while entries := log.entries(start):
        for entry in map(GovernanceEntry.parse, entries):
            if entry.body.get("population") != population:
                continue
            if entry.kind == "task":
                task = TaskManifest.from_json(entry.body)
                tasks[task.digest().hex()] = task
            elif entry.kind == "release":
                release = ReleaseManifest.from_json(entry.body)
                releases[release.version] = release
            elif entry.kind == ENTRY_KIND:
                announced = Retraining.from_json(entry.body)
                retrainings[announced.digest()] = announced
        start += len(entries)
    return Lineage(tasks, releases, retrainings)


def check_retrains(config: CoordinatorConfig, log: EntryLog) -> None:
    """Check that a task which is to retrain names an announced retraining and starts from its base.

    The ledger would refuse the task too; here it is refused before anything is written or learned.

    Raises:
        BadConfig: saying what the announcement asks for.
    """
    if not config.retrains:
        return
    try:
        announced = read_lineage(log, config.population).retrainings.get(config.retrains)
    except PrivacyError as error:
        raise BadConfig(f"coordinator: retrains: the log cannot be read: {error}") from None
    if announced is None:
        raise BadConfig(
            f"coordinator: retrains: expected an announced retraining of {config.population!r}, "
            f"got {config.retrains!r}; tacit ledger retrain announces one"
        )
    if config.base_release != announced.base_release:
        raise BadConfig(
            f"coordinator: base_release: expected {announced.base_release}, from before the first "
            f"affected task, got {config.base_release}"
        )


def retraining_config(
    config: CoordinatorConfig, announced: Retraining, task_id: str, state_dir: str
) -> CoordinatorConfig:
    """Return a task's configuration changed into one that carries a retraining out.

    Raises:
        BadConfig: if the task is of another population, or cannot start from the base.
    """
    if config.population != announced.population:
        raise BadConfig(
            f"coordinator: population: expected {announced.population!r}, got {config.population!r}"
        )
    return dataclasses.replace(
        config,
        task_id=task_id,
        state_dir=state_dir,
        base_release=announced.base_release,
        retrains=announced.digest(),
    )
