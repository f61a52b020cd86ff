"""How many devices permit what: counts alone, and none that would give a person away.

Only aggregates are asked of the database: no device, event or pseudonym is read. Every number is
rounded down to a multiple of ten, and one below ten is not told, so a group and the rest of it
cannot be subtracted down to a person at one moment. A signal that fewer than ten permit is not even
listed: that it appears would tell of the first who does. Whoever watches for long can still see one
count cross a ten.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import func, select

from tacit.privacy.signals import PURPOSES
from tacit.server.console.source import LedgerSource
from tacit.server.console.steady_clock import system_ms
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.database_postgres import reading_postgres
from tacit.server.ledger.tables import consent_states, devices

STEP = 10
"""Counts are told in multiples of this."""

_Row = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Count:
    """A number of devices, as it may be told.

    Attributes:
        at_least: A multiple of ten that it is not below.
    """

    at_least: int

    @classmethod
    def of(cls, exact: int) -> Count:
        """Round a number down."""
        return cls(exact // STEP * STEP)

    def __str__(self) -> str:
        return f"{self.at_least:,} or more" if self.at_least else f"fewer than {STEP}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What enrolled devices permit.

    Attributes:
        enrolled: Devices that are enrolled.
        by_purpose: Every purpose to devices with a grant that stands.
        by_signal: (purpose, signal) to devices whose grant covers it, where that is told.
    """

    enrolled: Count
    by_purpose: dict[str, Count]
    by_signal: dict[tuple[str, str], Count]


def consent_coverage(source: LedgerSource) -> Coverage | None:
    """Count what devices permit now; None where only an export is here, which does not say.

    Raises:
        VerificationFailed: The database cannot be read.
        BadConfig: It does not answer.
    """
    now_ms = system_ms()
    if source.postgres:
        with reading_postgres(source.postgres) as connection:
            enrolled = connection.execute(select(func.count()).select_from(devices)).scalar_one()
            rows = connection.execute(
                select(consent_states.c.purpose, consent_states.c.signals, func.count())
                .where(consent_states.c.valid_until_ms > now_ms)
                .group_by(consent_states.c.purpose, consent_states.c.signals)
            ).all()
            return coverage_of(enrolled, [(row[0], row[1], row[2]) for row in rows])
    if (file := source.database_file) is None:
        return None
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("BEGIN")
            (enrolled,) = database.execute("SELECT COUNT(*) FROM devices").fetchone()
            found = database.execute(
                "SELECT purpose, signals, COUNT(*) FROM consent_states "
                "WHERE valid_until_ms > ? GROUP BY purpose, signals",
                (now_ms,),
            ).fetchall()
    except sqlite3.Error as error:
        raise VerificationFailed((f"{file.name}: cannot be read: {error}",)) from None
    return coverage_of(enrolled, found)


def coverage_of(enrolled: int, rows: Iterable[_Row]) -> Coverage:
    """Tell of exact counts what may be told.

    Args:
        enrolled: Number of devices.
        rows: (purpose, granted signals by space, number of devices with just that grant).
    """
    by_purpose, by_signal = Counter[str](), Counter[tuple[str, str]]()
    for purpose, signals, count in rows:
        granted = signals.split()
        if granted:
            by_purpose[purpose] += count
        for signal in granted:
            by_signal[purpose, signal] += count
    return Coverage(
        Count.of(enrolled),
        {name: Count.of(by_purpose[name]) for name in sorted(PURPOSES)},
        {name: Count.of(n) for name, n in sorted(by_signal.items()) if n >= STEP},
    )
