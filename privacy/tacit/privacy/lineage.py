"""Lineage: which tasks of a population rest on which, and which releases were superseded.

A release is a function of the noised sums of its task and of the release that the task started
from, so whoever is in a task is in every release that descends from it. Everything here follows
from the governance log; the ledger asks it before it appends, a verifier when it replays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tacit.privacy.release import ReleaseManifest, kind_of
from tacit.privacy.retraining import Retraining
from tacit.privacy.task import TaskManifest


@dataclass(frozen=True, slots=True)
class Lineage:
    """The tasks and releases of one population, in the order of the log.

    Attributes:
        tasks: hex digest → manifest.
        releases: version → manifest.
        retrainings: hex digest → announcement.
    """

    tasks: Mapping[str, TaskManifest]
    releases: Mapping[int, ReleaseManifest]
    retrainings: Mapping[str, Retraining]

    def resting_on(self, tasks: Collection[str]) -> frozenset[str]:
        """Return some tasks with every task that builds, however indirectly, on their releases."""
        found = set(tasks)
        # One pass is enough: a base is in the log before whoever names it.
        for digest, task in self.tasks.items():
            base = self.releases.get(task.base_release)
            if base is not None and base.task_sha256 in found:
                found.add(digest)
        return frozenset(found)

    def versions(self, tasks: Collection[str]) -> tuple[int, ...]:
        """Return the versions that these tasks released, in order."""
        return tuple(
            version
            for version, release in sorted(self.releases.items())
            if release.task_sha256 in tasks
        )

    def completed(self) -> frozenset[str]:
        """Return the digests of the retrainings that brought a release."""
        released = (self.tasks.get(one.task_sha256) for one in self.releases.values())
        return frozenset(task.retrains for task in released if task is not None and task.retrains)

    def superseded_tasks(self) -> frozenset[str]:
        """Return the tasks whose releases, past or to come, a retraining replaced."""
        if not self.retrainings:
            return frozenset()
        affected: set[str] = set()
        for digest in self.completed():
            announced = self.retrainings.get(digest)
            affected.update(() if announced is None else announced.tasks)
        return self.resting_on(affected)

    def affected(self, erased: Collection[str], kind: str) -> tuple[str, ...]:
        """Return the tasks of a kind that rest on tasks with someone erased, superseded ones not.

        Args:
            erased: digests of the tasks in which somebody since erased took part.
            kind: the kind of release they teach.
        """
        resting = self.resting_on(set(erased).intersection(self.tasks)) - self.superseded_tasks()
        return tuple(
            digest
            for digest, task in self.tasks.items()
            if digest in resting and task_kind(task) == kind
        )

    def to_supersede(self, task: TaskManifest) -> tuple[int, ...]:
        """Return the versions that a release of this task supersedes; none if it retrains not."""
        announced = self.retrainings.get(task.retrains)
        if announced is None:
            return ()
        gone = self.superseded_tasks()
        return self.versions(self.resting_on(announced.tasks) - gone)


def task_kind(task: TaskManifest) -> str:
    """Return the kind of release a task teaches."""
    return kind_of(plan.statistic for plan in task.rounds)
