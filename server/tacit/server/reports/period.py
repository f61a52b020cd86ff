"""The days a review covers."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from tacit.privacy.errors import BadParameter

_DAY = datetime.timedelta(days=1)
_MS = datetime.timedelta(milliseconds=1)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LATEST = datetime.date(9998, 12, 31)


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days in UTC, first and last included.

    Raises:
        BadParameter: The last day lies before the first, or a day is out of range.
    """

    first: datetime.date
    last: datetime.date

    def __post_init__(self) -> None:
        if not _EPOCH.date() <= self.first <= self.last <= _LATEST:
            raise BadParameter(
                f"period: expected a first day from 1970 on and a last day not before it, got "
                f"{self.first} to {self.last}"
            )

    @classmethod
    def quarter_of(cls, day: datetime.date) -> Period:
        """Return the calendar quarter that a day lies in."""
        quarter = (day.month - 1) // 3
        year, after = divmod(day.year * 4 + quarter + 1, 4)
        first = datetime.date(day.year, 3 * quarter + 1, 1)
        return cls(first, datetime.date(year, 3 * after + 1, 1) - _DAY)

    @property
    def start_ms(self) -> int:
        """First millisecond of it, Unix time."""
        return _midnight_ms(self.first)

    @property
    def end_ms(self) -> int:
        """First millisecond after it, Unix time."""
        return _midnight_ms(self.last + _DAY)

    def holds(self, at_ms: int) -> bool:
        """Whether a moment lies in it."""
        return self.start_ms <= at_ms < self.end_ms

    @property
    def name(self) -> str:
        """How it is called: by its quarter where it is one, else by its days."""
        if self == Period.quarter_of(self.first):
            return f"Q{(self.first.month + 2) // 3} {self.first.year}"
        return f"{self.first} to {self.last}"


def _midnight_ms(day: datetime.date) -> int:
    return round((datetime.datetime.combine(day, datetime.time(), datetime.UTC) - _EPOCH) / _MS)
