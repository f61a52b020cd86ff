"""How many devices consent to what, in bands: the one thing here that no log can tell.

The consent log holds opaque leaves, so an export has no such figures. A node's database has the
current decisions, to admit devices by; this counts them, and gives no count away that could be
about a few people.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from tacit.privacy.signals import PURPOSES
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.database_postgres import reading_postgres
from tacit.server.ledger.tables import consent_states, devices, erased_devices

BAND = 10
"""Counts are given in bands of so many: 0 to 9, 10 to 19, …"""


@dataclass(frozen=True, slots=True)
class Band:
    """A count as it may be shown.

    A band of `BAND` hides the change that a few people make, also from whoever subtracts one
    row, or one report, from another.

    Attributes:
        least: The lowest count it stands for, a multiple of `BAND`.
    """

    least: int

    @classmethod
    def of(cls, count: int) -> Band:
        """Return the band a count lies in."""
        return cls(count - count % BAND)

    def __str__(self) -> str:
        if self.least == 0:
            return f"fewer than {BAND}"
        return f"{self.least:,} to {self.least + BAND - 1:,}"


@dataclass(frozen=True, slots=True)
class PopulationCoverage:
    """What the devices of one population consent to.

    Attributes:
        population: Its name.
        enrolled: Devices that are enrolled.
        by_purpose: (purpose, decided, granting, none) of every purpose: devices that ever decided
            about it, those of them that grant at least one signal now, and those that grant none:
            they refused or withdrew, or their grant ended.
        by_signal: (purpose, signal, granting) in order, where at least `BAND` grant it: that a
            signal is listed must not tell of the first few.
    """

    population: str
    enrolled: Band
    by_purpose: tuple[tuple[str, Band, Band, Band], ...]
    by_signal: tuple[tuple[str, str, Band], ...]

    def to_json(self) -> dict[str, object]:
        """Return the bands as a document."""
        return {
            "population": self.population,
            "enrolled": str(self.enrolled),
            "by_purpose": [
                {
                    "purpose": purpose,
                    "decided": str(decided),
                    "granting": str(granting),
                    "granting_nothing": str(nothing),
                }
                for purpose, decided, granting, nothing in self.by_purpose
            ],
            "by_signal": [
                {"purpose": purpose, "signal": signal, "granting": str(granting)}
                for purpose, signal, granting in self.by_signal
            ],
        }


@dataclass(frozen=True, slots=True)
class ConsentCoverage:
    """What was counted in a node's database.

    Attributes:
        populations: In order of name.
        erased: Devices that had themselves erased, ever.
        at_ms: The moment for which expiry was applied, Unix milliseconds.
    """

    populations: tuple[PopulationCoverage, ...]
    erased: Band
    at_ms: int

    def to_json(self) -> dict[str, object]:
        """Return the bands as a document."""
        return {
            "at_ms": self.at_ms,
            "erased": str(self.erased),
            "populations": [one.to_json() for one in self.populations],
        }


def read_node_coverage(config: LedgerConfig, at_ms: int) -> ConsentCoverage:
    """Count current decisions in a configured node's database, whichever it has.

    Args:
        config: The node's.
        at_ms: As in `read_consent_coverage`.

    Raises:
        VerificationFailed: It cannot be read as a ledger's database.
        BadConfig: The database does not answer.
    """
    if not config.database:
        return read_consent_coverage(config.state_dir, at_ms)
    with reading_postgres(config.database) as connection:
        enrolled = connection.execute(
            select(devices.c.population, func.count()).group_by(devices.c.population)
        ).all()
        states = connection.execute(
            select(
                devices.c.population,
                consent_states.c.purpose,
                consent_states.c.signals,
                consent_states.c.valid_until_ms,
            ).join(devices, devices.c.device_id == consent_states.c.device_id)
        ).all()
        erased = connection.execute(select(func.count()).select_from(erased_devices)).scalar_one()
    return counted(
        {row[0]: row[1] for row in enrolled},
        [(row[0], row[1], row[2], row[3]) for row in states],
        erased,
        at_ms,
    )


def read_consent_coverage(path: Path, at_ms: int) -> ConsentCoverage:
    """Count current decisions in a node's SQLite database; no single one leaves this function.

    Args:
        path: The database file, or the state directory it lies in.
        at_ms: Grants that end at or before it count as ended, Unix milliseconds.

    Raises:
        VerificationFailed: It cannot be read as a ledger's database.
    """
    file = path / DATABASE_FILE if path.is_dir() else path
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("BEGIN")
            enrolled = database.execute(
                "SELECT population, COUNT(*) FROM devices GROUP BY population"
            ).fetchall()
            states = database.execute(
                "SELECT population, purpose, signals, valid_until_ms FROM consent_states "
                "JOIN devices USING (device_id)"
            ).fetchall()
            (erased,) = database.execute("SELECT COUNT(*) FROM erased_devices").fetchone()
    except sqlite3.Error as error:
        raise VerificationFailed((f"{file.name}: consents cannot be read: {error}",)) from None
    return counted(dict(enrolled), states, erased, at_ms)


def counted(
    enrolled: dict[str, int],
    states: Sequence[tuple[str, str, str, int]],
    erased: int,
    at_ms: int,
) -> ConsentCoverage:
    """Count decisions into bands.

    Args:
        enrolled: Population to number of devices.
        states: (population, purpose, granted signals by space, end of the grant) of each device
            and purpose.
        erased: Number of erased devices.
        at_ms: As in `read_consent_coverage`.
    """
    decided, granting = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    signals = Counter[tuple[str, str, str]]()
    for population, purpose, granted, valid_until_ms in states:
        about = population, purpose
        decided[about] += 1
        names = granted.split() if valid_until_ms > at_ms else []
        granting[about] += bool(names)
        for name in names:
            signals[*about, name] += 1
    return ConsentCoverage(
        populations=tuple(
            PopulationCoverage(
                population=population,
                enrolled=Band.of(count),
                by_purpose=tuple(
                    (
                        purpose,
                        Band.of(decided[population, purpose]),
                        Band.of(granting[population, purpose]),
                        Band.of(decided[population, purpose] - granting[population, purpose]),
                    )
                    for purpose in sorted(PURPOSES)
                ),
                by_signal=tuple(
                    (purpose, signal, Band.of(number))
                    for (of, purpose, signal), number in sorted(signals.items())
                    if of == population and number >= BAND
                ),
            )
            for population, count in sorted(enrolled.items())
        ),
        erased=Band.of(erased),
        at_ms=at_ms,
    )
