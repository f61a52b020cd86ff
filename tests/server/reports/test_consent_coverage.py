"""Coverage gives no count away that could be about a few people."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.server.errors import VerificationFailed
from tacit.server.reports.consent_coverage import BAND, Band, counted, read_consent_coverage

STATES = st.lists(
    st.tuples(
        st.just("shop"),
        st.sampled_from(["learn", "measure"]),
        st.sampled_from(["", "rating", "purchase rating"]),
        st.sampled_from([5, 15]),
    ),
    max_size=60,
)


@given(STATES)
def test_counts_against_a_slow_one(states: list[tuple[str, str, str, int]]) -> None:
    coverage = counted({"shop": 60}, states, 0, 10)
    (shop,) = coverage.populations
    for purpose, signal, band in shop.by_signal:
        true = sum(p == purpose and signal in s.split() and end > 10 for _, p, s, end in states)
        assert band.least <= true < band.least + BAND
        assert true >= BAND  # else the row itself would tell of the first who grants it
    assert [purpose for purpose, *_ in shop.by_purpose] == ["decide", "learn", "measure"]
    for purpose, decided, granting, nothing in shop.by_purpose:
        mine = [(s, end) for _, p, s, end in states if p == purpose]
        assert decided == Band.of(len(mine))
        assert granting == Band.of(sum(bool(s) and end > 10 for s, end in mine))
        assert nothing == Band.of(sum(not s or end <= 10 for s, end in mine))


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "fewer than 10"), (9, "fewer than 10"), (10, "10 to 19"), (1234, "1,230 to 1,239")],
)
def test_bands(count: int, shown: str) -> None:
    assert str(Band.of(count)) == shown


def test_the_first_who_grants_a_rare_signal_changes_nothing_that_is_shown() -> None:
    many = [("shop", "learn", "rating", 15)] * 12
    first = ("shop", "decide", "precise_location", 15)
    assert counted({"shop": 60}, [*many, first], 0, 10) == counted({"shop": 60}, many, 0, 10)


def test_one_person_more_or_less_shows_only_at_the_edge_of_a_band() -> None:
    changes = sum(Band.of(count) != Band.of(count + 1) for count in range(1000))
    assert changes == 1000 // BAND


def test_what_is_no_ledgers_database_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "ledger.sqlite").close()
    with pytest.raises(VerificationFailed, match="consents cannot be read"):
        read_consent_coverage(tmp_path, 0)
