"""Tasks, releases, consent and audits: what was learned, under what, and what was found."""

from __future__ import annotations

from tacit.privacy.budget import ReservationState
from tacit.privacy.task import TaskManifest
from tacit.privacy.trust import ASSUMPTIONS, CLAIMS, claim_context
from tacit.server.console.answers import Answer, Page, Visit
from tacit.server.console.consent_coverage import STEP, consent_coverage
from tacit.server.console.errors import NotThere
from tacit.server.console.services import Console
from tacit.server.console.snapshot import Snapshot
from tacit.server.console.steady_clock import system_ms


def tasks_page(console: Console, _visit: Visit) -> Answer:
    """List every task with where it stands."""
    snapshot = console.snapshots.current()
    rows = [
        {"sha256": digest, "task": task, "status": task_status(snapshot, digest, task)}
        for digest, task in reversed(snapshot.history.tasks.items())
    ]
    return Page("tasks.html", "Tasks", {"rows": rows, "snapshot": snapshot})


def task_page(console: Console, visit: Visit) -> Answer:
    """Show one task in plain words, and its manifest in full."""
    snapshot, digest = console.snapshots.current(), visit.params["task"]
    task = snapshot.history.tasks.get(digest)
    if task is None:
        raise NotThere("there is no task of that digest in this ledger")
    held = [
        one
        for held in snapshot.history.reservations.values()
        for one in held
        if one.reservation_id.startswith(f"{task.task_id}/")
    ]
    context = {
        "snapshot": snapshot,
        "task": task,
        "sha256": digest,
        "status": task_status(snapshot, digest, task),
        "claim": CLAIMS.get(task.trust_level, ""),
        "assumption": ASSUMPTIONS.get(task.trust_level, ""),
        "context": None if task.target_delta is None else _beside(snapshot, task),
        "reservations": held,
        "entry": snapshot.index_of("task", task_id=task.task_id),
        "manifest": task.to_json(),
    }
    return Page("task.html", f"Task {task.task_id}", context)


def _beside(snapshot: Snapshot, task: TaskManifest) -> dict[str, object]:
    """Return what must stand beside the ε of a task that spends."""
    claim = snapshot.accountant.claim(task.events(), task.target_delta or 0.0)
    return claim_context(claim, task.participation_bound)


def task_status(snapshot: Snapshot, digest: str, task: TaskManifest) -> str:
    """Return "released", "running", "expired" or "published", as the log tells."""
    if any(
        one.task_sha256 == digest for some in snapshot.history.releases.values() for one in some
    ):
        return "released"
    if system_ms() >= task.expires_at_ms:
        return "expired"
    started = any(
        entry.body.get("task_sha256") == digest
        for entry in snapshot.entries
        if entry.kind in ("budget.reserve", "round")
    )
    return "running" if started else "published"


def releases_page(console: Console, _visit: Visit) -> Answer:
    """List every release with its figure and all that stands beside it."""
    snapshot = console.snapshots.current()
    cards = [card.to_json() for card in reversed(snapshot.cards)]
    return Page("releases.html", "Releases", {"cards": cards, "snapshot": snapshot})


def release_page(console: Console, visit: Visit) -> Answer:
    """Show the privacy facts of one release."""
    snapshot = console.snapshots.current()
    for card in snapshot.cards:
        release = card.release
        if (release.population, str(release.version)) == (
            visit.params["population"],
            visit.params["version"],
        ):
            context = {
                "card": card.to_json(),
                "paid": [
                    (one, snapshot.index_of("budget.reserve", reservation_id=one.reservation_id))
                    for one in card.paid
                ],
                "entry": snapshot.index_of(
                    "release", population=release.population, version=release.version
                ),
                "snapshot": snapshot,
            }
            title = f"Release {release.version} of {release.population}"
            return Page("release.html", title, context)
    raise NotThere("there is no release of that population and version in this ledger")


def consent_page(console: Console, _visit: Visit) -> Answer:
    """Show how many devices permit what, and how the consent log grew."""
    snapshot = console.snapshots.current()
    epochs = [
        (index, entry.recorded_at_ms, entry.body)
        for index, entry in enumerate(snapshot.entries)
        if entry.kind == "consent.map"
    ]
    context = {
        "snapshot": snapshot,
        "coverage": consent_coverage(console.config.source),
        "step": STEP,
        "epochs": epochs[-50:][::-1],
        "notices": [
            (index, entry.body)
            for index, entry in enumerate(snapshot.entries)
            if entry.kind == "notice"
        ],
    }
    return Page("consent.html", "Consent", context)


def audits_page(console: Console, _visit: Visit) -> Answer:
    """List every audit on record, in the words the ledger checked."""
    snapshot = console.snapshots.current()
    audits = [
        (snapshot.index_of("audit", report_sha256=one.report_sha256), one)
        for one in reversed(snapshot.history.audits)
    ]
    return Page("audits.html", "Audits", {"audits": audits, "snapshot": snapshot})


def open_reservations(snapshot: Snapshot) -> int:
    """Return how many spends are reserved and not settled."""
    return sum(
        one.state is ReservationState.RESERVED
        for held in snapshot.history.reservations.values()
        for one in held
    )
