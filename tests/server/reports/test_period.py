"""Whole days in UTC, and the quarters they make."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.privacy.errors import BadParameter
from tacit.server.reports import Period

DAYS = st.dates(datetime.date(1970, 1, 1), datetime.date(2400, 1, 1))


@given(DAYS)
def test_a_quarter_holds_its_day_and_three_months(day: datetime.date) -> None:
    quarter = Period.quarter_of(day)
    assert quarter.first <= day <= quarter.last
    assert (quarter.first.day, quarter.first.month % 3) == (1, 1)
    assert 90 <= (quarter.last - quarter.first).days + 1 <= 92
    after = quarter.last + datetime.timedelta(days=1)
    assert Period.quarter_of(after).first == after
    assert quarter.name == f"Q{(day.month + 2) // 3} {day.year}"


@given(DAYS, DAYS)
def test_bounds_in_milliseconds(first: datetime.date, last: datetime.date) -> None:
    if first > last:
        with pytest.raises(BadParameter, match="last day not before it"):
            Period(first, last)
        return
    period = Period(first, last)
    start = datetime.datetime(first.year, first.month, first.day, tzinfo=datetime.UTC)
    assert period.start_ms == start.timestamp() * 1000
    assert period.end_ms - period.start_ms == ((last - first).days + 1) * 86_400_000
    assert period.holds(period.start_ms)
    assert period.holds(period.end_ms - 1)
    assert not period.holds(period.end_ms)
    assert not period.holds(period.start_ms - 1)
