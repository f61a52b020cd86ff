"""Rules of retraining in the governance log: what may build on what, and what a release replaces.

Pure functions of documents; the ledger asks them before it appends, a verifier when it replays.
"""

from __future__ import annotations

from tacit.privacy.lineage import Lineage, task_kind
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import Retraining
from tacit.privacy.task import TaskManifest
from tacit.server.errors import FailedPrecondition


def check_retraining(announced: Retraining, lineage: Lineage) -> None:
    """Check an announcement against the tasks and releases before it.

    Raises:
        FailedPrecondition: if a task is not of its population and kind or was superseded before,
            a task that rests on them is left out, or it starts from another base than the first
            of them did.
    """
    unknown = [one for one in announced.tasks if one not in lineage.tasks]
    if unknown:
        raise FailedPrecondition(
            f"retraining: task {unknown[0][:16]}… is not one of population {announced.population}"
        )
    expected = lineage.affected(announced.tasks, announced.kind)
    if announced.tasks != expected:
        raise FailedPrecondition(
            f"retraining: expected the {len(expected)} tasks of kind {announced.kind} that rest on "
            f"these and are not superseded, in the order of the log, got {len(announced.tasks)}"
        )
    base = lineage.tasks[announced.tasks[0]].base_release
    if announced.base_release != base:
        raise FailedPrecondition(
            f"retraining: expected to start from release {base}, as the first affected task did, "
            f"got {announced.base_release}"
        )


def check_task_lineage(task: TaskManifest, lineage: Lineage) -> None:
    """Check what a task builds on, and the retraining it says it carries out.

    Raises:
        FailedPrecondition: if its base is no release or was superseded, or its retraining was not
            announced, is of another population or kind, or starts from another base.
    """
    base = lineage.releases.get(task.base_release)
    if task.base_release and base is None:
        raise FailedPrecondition(
            f"task {task.task_id}: base_release: expected a release of population "
            f"{task.population}, got {task.base_release}, which the log does not hold"
        )
    if base is not None and base.task_sha256 in lineage.superseded_tasks():
        raise FailedPrecondition(
            f"task {task.task_id}: base_release: release {task.base_release} was superseded by a "
            "retraining; start from a release in force, or from nothing"
        )
    if not task.retrains:
        return
    announced = lineage.retrainings.get(task.retrains)
    if announced is None:
        raise FailedPrecondition(
            f"task {task.task_id}: retrains: expected an announced retraining of population "
            f"{task.population}, got {task.retrains[:16]}…; tacit ledger retrain announces one"
        )
    if task_kind(task) != announced.kind:
        raise FailedPrecondition(
            f"task {task.task_id}: expected the kind {announced.kind} of its retraining, got "
            f"{task_kind(task)}"
        )
    if task.base_release != announced.base_release:
        raise FailedPrecondition(
            f"task {task.task_id}: base_release: expected {announced.base_release}, from before "
            f"the first affected task, got {task.base_release}"
        )


def check_release_lineage(release: ReleaseManifest, task: TaskManifest, lineage: Lineage) -> None:
    """Check that a release rests on nobody it must not rest on, and replaces what it has to.

    Args:
        release: what is to be released.
        task: its task.
        lineage: what was in the log before it.

    Raises:
        FailedPrecondition: if its task was superseded, or it supersedes other releases than those
            that rest on the tasks of its retraining.
    """
    name = f"release {release.version}"
    if release.task_sha256 in lineage.superseded_tasks():
        raise FailedPrecondition(
            f"{name}: its task rests on someone who was erased, and was superseded by a retraining"
        )
    expected = lineage.to_supersede(task)
    if release.supersedes != expected:
        raise FailedPrecondition(
            f"{name}: expected to supersede {_named(expected)}, got {_named(release.supersedes)}"
        )


def _named(versions: tuple[int, ...]) -> str:
    return "releases " + ", ".join(map(str, versions)) if versions else "no release"
