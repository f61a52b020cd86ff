"""The lineage of a population as the ledger's rows hold it; all of it follows from the log."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from tacit.privacy.canonical import parse_canonical
from tacit.privacy.lineage import Lineage
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.retraining import Retraining
from tacit.privacy.task import TaskManifest
from tacit.server.ledger.tables import releases, retrainings, tasks


@dataclass(frozen=True, slots=True)
class LoadedLineage:
    """A lineage with the places of its documents in the governance log.

    Attributes:
        lineage: what the documents say.
        tasks: hex digest → index.
        releases: version → index.
        retrainings: hex digest → index.
    """

    lineage: Lineage
    tasks: dict[str, int]
    releases: dict[int, int]
    retrainings: dict[str, int]


def load_lineage(connection: Connection, population: str) -> LoadedLineage:
    """Read every task, release and retraining of a population, in the order of the log."""
    found_tasks: dict[str, TaskManifest] = {}
    task_places: dict[str, int] = {}
    for row in connection.execute(
        select(tasks.c.task_sha256, tasks.c.body, tasks.c.position).order_by(tasks.c.position)
    ):
        document = parse_canonical(row.body)
        if document.get("population") == population:
            found_tasks[row.task_sha256] = TaskManifest.from_json(document)
            task_places[row.task_sha256] = int(row.position)
    found_releases: dict[int, ReleaseManifest] = {}
    release_places: dict[int, int] = {}
    for row in connection.execute(
        select(releases.c.version, releases.c.body, releases.c.position)
        .where(releases.c.population == population)
        .order_by(releases.c.version)
    ):
        found_releases[int(row.version)] = ReleaseManifest.from_json(parse_canonical(row.body))
        release_places[int(row.version)] = int(row.position)
    announced: dict[str, Retraining] = {}
    places: dict[str, int] = {}
    for row in connection.execute(
        select(retrainings.c.retraining_sha256, retrainings.c.body, retrainings.c.position)
        .where(retrainings.c.population == population)
        .order_by(retrainings.c.position)
    ):
        announced[row.retraining_sha256] = Retraining.from_json(parse_canonical(row.body))
        places[row.retraining_sha256] = int(row.position)
    return LoadedLineage(
        Lineage(found_tasks, found_releases, announced), task_places, release_places, places
    )


def any_retraining(connection: Connection, population: str) -> bool:
    """Whether a retraining of a population was ever announced."""
    query = select(retrainings.c.position).where(retrainings.c.population == population).limit(1)
    return connection.execute(query).first() is not None
