"""Replay of what retrainings promise: no release in force rests on what one announced as affected.

Checked from the entries alone: each announcement lists tasks of its population with all that rest
on them and starts from before the first; its task starts from that base; its release supersedes
every release that rests on them; nothing builds on, or comes from, what was superseded. That the
tasks listed are those of erased people is the ledger's word: no entry names anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.lineage import Lineage
from tacit.privacy.merkle import MerkleTree
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import Retraining
from tacit.privacy.task import TaskManifest
from tacit.server.errors import FailedPrecondition
from tacit.server.ledger.lineage_rules import (
    check_release_lineage,
    check_retraining,
    check_task_lineage,
)
from tacit.server.ledger.verification_report import RetrainingReport


class LineageReplay:
    """Holds the history's tasks and releases against the rules; announcements are added to it."""

    def __init__(
        self,
        tasks: Mapping[str, TaskManifest],
        releases: Mapping[str, list[ReleaseManifest]],
        retrainings: dict[str, Retraining],
    ) -> None:
        self._tasks = tasks
        self._releases = releases
        self._retrainings = retrainings

    def announce(self, entry: GovernanceEntry) -> None:
        """Check and keep an announcement."""
        announced = Retraining.from_json(entry.body)
        if announced.digest() in self._retrainings:
            raise FailedPrecondition("this retraining was announced before")
        lineage = self._lineage(announced.population)
        self._retrainings[announced.digest()] = announced
        check_retraining(announced, lineage)

    def task(self, task: TaskManifest) -> None:
        """Check what a task builds on."""
        if task.base_release or task.retrains:
            check_task_lineage(task, self._lineage(task.population))

    def release(self, release: ReleaseManifest, task: TaskManifest) -> None:
        """Check a release that the history holds already, as the last of its population."""
        concerned = any(one.population == release.population for one in self._retrainings.values())
        if release.supersedes or concerned:
            lineage = self._lineage(release.population, last=False)
            check_release_lineage(release, task, lineage)

    def _lineage(self, population: str, *, last: bool = True) -> Lineage:
        return lineage_of(self._tasks, self._releases, self._retrainings, population, last=last)


def lineage_of(
    tasks: Mapping[str, TaskManifest],
    releases: Mapping[str, Sequence[ReleaseManifest]],
    retrainings: Mapping[str, Retraining],
    population: str,
    *,
    last: bool = True,
) -> Lineage:
    """Return the lineage of one population of a replayed history, without its last release if so.

    Args:
        tasks: of every population, in the order of the log.
        releases: population → releases.
        retrainings: of every population.
        population: which one.
        last: whether its last release is part of it.
    """
    held = releases.get(population, ())
    return Lineage(
        {digest: task for digest, task in tasks.items() if task.population == population},
        {one.version: one for one in (held if last else held[:-1])},
        {digest: one for digest, one in retrainings.items() if one.population == population},
    )


def check_consent_roots(
    retrainings: Mapping[str, Retraining], consent: MerkleTree, findings: list[str]
) -> None:
    """Re-derive the consent root each announcement names: who was erased before it, is provable."""
    for one in retrainings.values():
        size = one.consent_size
        if size > consent.size or one.consent_root != consent.root(size).hex():
            findings.append(
                f"retraining of {one.population}: names another consent root than {size} leaves "
                "give"
            )


def retraining_reports(
    retrainings: Mapping[str, Retraining],
    tasks: Mapping[str, TaskManifest],
    releases: Mapping[str, Sequence[ReleaseManifest]],
) -> tuple[RetrainingReport, ...]:
    """Say of each announcement what came of it; of a history without findings."""
    reports: list[RetrainingReport] = []
    for digest, one in retrainings.items():
        made = next(
            (
                release
                for release in releases.get(one.population, ())
                if tasks[release.task_sha256].retrains == digest
            ),
            None,
        )
        reports.append(
            RetrainingReport(
                retraining_sha256=digest,
                population=one.population,
                kind=one.kind,
                tasks=len(one.tasks),
                base_release=one.base_release,
                consent_size=one.consent_size,
                release=0 if made is None else made.version,
                superseded=() if made is None else made.supersedes,
                reason=one.reason,
            )
        )
    return tuple(reports)
