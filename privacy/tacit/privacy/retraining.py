"""Retraining after an erasure: what the ledger announces, and what proves that it was done.

Someone who was erased may be in released models. A retraining is an ordinary task, paid like any
other, that starts from the release before the first task they took part in, and whose release
supersedes every release that rests on what they sent:

    1  retraining   signed by the ledger: the tasks affected, and the base to start from
    2  task         `retrains` names 1, `base_release` is the base of 1
    3  release      of 2; `supersedes` names every release that rests on the tasks of 1

From 3 on the label of a contribution to a task of 1 is `retrained-exact`: no release in force is a
function of it. Assumptions: gateway and coordinator sum what devices send in the rounds of 2 and
nothing they kept, and base releases are computed from their own tasks' sums, as the released code
does. What other people did because a superseded model advised them is not undone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tacit.privacy.canonical import Fields, Json, canonical_json
from tacit.privacy.errors import BadDocument, BadProof
from tacit.privacy.release import KINDS, ReleaseManifest
from tacit.privacy.task import TaskManifest

ENTRY_KIND = "retraining"
"""Kind of the governance entry that announces one; the ledger itself signs it."""

MAX_REASON = 200
MAX_TASKS = 500
"""Most tasks one announcement lists, so that it fits into an entry of the log."""

_TYPE = "tacit.retraining/1"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_Document = TypeVar("_Document")


@dataclass(frozen=True, slots=True)
class Retraining:
    """One announced retraining (body of a governance entry of kind `retraining`).

    Attributes:
        population: whose releases.
        kind: kind of the releases that are to be replaced, one of `release.KINDS`.
        tasks: hex digests of the tasks in which somebody since erased took part, and of those that
            build on their releases, in the order of the log. Not who, and not how many.
        base_release: version to start from: what the first of these tasks started from; 0 for none.
        consent_size, consent_root: the consent log when it was announced. Whoever's erasure is
            among its first `consent_size` leaves was gone before the first round.
        requested_by: key id of the operator who asked for it.
        reason: why, in the operator's words.
    """

    population: str
    kind: str
    tasks: tuple[str, ...]
    base_release: int
    consent_size: int
    consent_root: str
    requested_by: str
    reason: str

    def to_json(self) -> dict[str, Json]:
        """Return the body of the entry."""
        return {
            "type": _TYPE,
            "population": self.population,
            "kind": self.kind,
            "tasks": list(self.tasks),
            "base_release": self.base_release,
            "consent_size": self.consent_size,
            "consent_root": self.consent_root,
            "requested_by": self.requested_by,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> Retraining:
        """Parse and validate; raises `BadDocument`."""
        fields = Fields(document, "retraining")
        if fields.text("type") != _TYPE:
            raise BadDocument(f"retraining.type: expected {_TYPE!r}")
        found = cls(
            population=fields.text("population"),
            kind=fields.text("kind"),
            tasks=fields.texts("tasks"),
            base_release=fields.integer("base_release", 0),
            consent_size=fields.integer("consent_size", 1),
            consent_root=fields.text("consent_root", max_length=64),
            requested_by=fields.text("requested_by", max_length=64),
            reason=fields.text("reason", max_length=MAX_REASON),
        )
        fields.done()
        if found.kind not in KINDS:
            raise BadDocument(f"retraining.kind: expected one of {', '.join(KINDS)}")
        distinct = set(found.tasks)
        if not 1 <= len(distinct) == len(found.tasks) <= MAX_TASKS:
            raise BadDocument(f"retraining.tasks: expected 1 to {MAX_TASKS} tasks, each once")
        if not all(_DIGEST.fullmatch(one) for one in (*found.tasks, found.consent_root)):
            raise BadDocument("retraining: expected digests of 64 lower-case hex digits")
        return found

    def digest(self) -> str:
        """Hex SHA-256 of the canonical body: the name a task gives in `retrains`."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()


@dataclass(frozen=True, slots=True)
class Logged(Generic[_Document]):
    """A document with its place in the governance log.

    Attributes:
        index: of its leaf.
        document: what the entry says.
    """

    index: int
    document: _Document


@dataclass(frozen=True, slots=True)
class CompletedRetraining:
    """A retraining with the task and the release that carried it out, each proved to be logged.

    Attributes:
        announced: the announcement.
        task: the task that retrains.
        release: its release.
        bases: what the task starts from, and what that started from, down to a task that started
            from nothing: each release with its task. Empty where the task starts from nothing.
    """

    announced: Logged[Retraining]
    task: Logged[TaskManifest]
    release: Logged[ReleaseManifest]
    bases: tuple[tuple[ReleaseManifest, TaskManifest], ...]

    @property
    def chain(self) -> frozenset[str]:
        """Digests of every task whose sums the new release is a function of."""
        own = self.task.document.digest().hex()
        return frozenset({own, *(release.task_sha256 for release, _ in self.bases)})

    def check(self) -> None:
        """Check that these documents are one retraining, and an exact one.

        1. They stand in this order in the log: announcement, task, release.
        2. The task names the announcement, for its population, and starts from its base.
        3. The release is the task's.
        4. The bases are the whole chain of releases the task builds on.
        5. No task of that chain is among those announced as affected.

        Raises:
            BadProof: naming the step that fails.
        """
        announced, task, release = (
            self.announced.document,
            self.task.document,
            self.release.document,
        )
        if not self.announced.index < self.task.index < self.release.index:
            raise BadProof("retraining, step 1: expected announcement, task, release in this order")
        if (task.retrains, task.population, task.base_release) != (
            announced.digest(),
            announced.population,
            announced.base_release,
        ):
            raise BadProof("retraining, step 2: the task is of another retraining")
        if (release.task_sha256, release.kind) != (task.digest().hex(), announced.kind):
            raise BadProof("retraining, step 3: the release is of another task")
        expected = task.base_release
        for base, base_task in self.bases:
            if (base.version, base.population) != (expected, task.population) or (
                base.task_sha256 != base_task.digest().hex()
            ):
                raise BadProof(f"retraining, step 4: expected release {expected} and its task")
            expected = base_task.base_release
        if expected:
            raise BadProof(f"retraining, step 4: release {expected} is missing")
        if not self.chain.isdisjoint(announced.tasks):
            raise BadProof("retraining, step 5: it builds on an affected task")


def covering(
    completed: Sequence[CompletedRetraining], task_sha256: str, own_tasks: frozenset[str]
) -> CompletedRetraining | None:
    """Return the retraining that makes a contribution's label `retrained-exact`, None for none.

    Args:
        completed: retrainings that were checked.
        task_sha256: the task contributed to.
        own_tasks: every task the same person contributed to: a new release that they are in does
            not replace anything without them.
    """
    return next(
        (
            one
            for one in completed
            if task_sha256 in one.announced.document.tasks and one.chain.isdisjoint(own_tasks)
        ),
        None,
    )
