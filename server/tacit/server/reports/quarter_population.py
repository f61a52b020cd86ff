"""A population without an account in a review: it spends nothing, so there is nothing to cap."""

from __future__ import annotations

from tacit.privacy.trust import ASSUMPTIONS, CLAIMS
from tacit.server.reports.document import Claim, Section, Table
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import places, second, short
from tacit.server.reports.period import Period
from tacit.server.reports.positions import Positions


def population_sections(
    ledger: VerifiedLedger, positions: Positions, population: str, period: Period
) -> list[Section]:
    """Return what a review says of one population that no account pays for."""
    tasks = {
        digest: task
        for digest, task in ledger.history.tasks.items()
        if task.population == population
    }
    levels = sorted({task.trust_level for task in tasks.values()})
    rounds = [
        (
            second(ledger.entries[index].recorded_at_ms),
            tasks[digest].task_id,
            str(number),
            places([index]),
        )
        for (digest, number), index in positions.rounds.items()
        if digest in tasks and period.holds(ledger.entries[index].recorded_at_ms)
    ]
    releases = [
        (
            str(one.version),
            one.kind,
            second(one.created_at_ms),
            short(one.model_sha256),
            str(positions.releases[population, one.version]),
        )
        for one in ledger.history.releases.get(population, [])
        if period.holds(one.created_at_ms)
    ]
    return [
        Section(
            f"Population {population}, which has no budget account",
            tuple(
                Claim(
                    f"What may be said at trust level {level}",
                    f"“{CLAIMS[level]}”",
                    f"This assumes: {ASSUMPTIONS[level]}.",
                )
                for level in levels
            ),
        ),
        Section(
            "Rounds of the period",
            (
                Table(
                    "Rounds whose exact sums are on record",
                    (
                        ("time (UTC)", False),
                        ("task", False),
                        ("round", True),
                        ("entry", True),
                    ),
                    tuple(rounds),
                    "There was no round in the period.",
                ),
            ),
            2,
        ),
        Section(
            "Releases of the period",
            (
                Table(
                    "Releases",
                    (
                        ("version", True),
                        ("kind", False),
                        ("released (UTC)", False),
                        ("model", False),
                        ("entry", True),
                    ),
                    tuple(releases),
                    "Nothing was released in the period.",
                ),
            ),
            2,
        ),
    ]
