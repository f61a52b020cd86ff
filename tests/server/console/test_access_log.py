"""The access log's chain: nothing is altered, removed, inserted, moved or cut off unnoticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tacit.server.console.access_log import AccessLog, Head, latest_time_ms
from tacit.server.console.database import Database
from tacit.server.console.steady_clock import SteadyClock
from tacit.server.errors import VerificationFailed


@pytest.fixture
def log(tmp_path: Path) -> AccessLog:
    database = Database(tmp_path)
    ticks = itertools.count(1)
    log = AccessLog(database, SteadyClock(0, lambda: 0, lambda: next(ticks)))
    for number in range(6):
        log.append("olga", "officer", "GET", f"/budget/{number}", "200")
    return log


def spoil(log: AccessLog, *statements: str) -> None:
    with log._database.writing() as connection:  # pyright: ignore[reportPrivateUsage]
        for statement in statements:
            connection.execute(text(statement))


def test_a_chain_that_nobody_touched_verifies(log: AccessLog) -> None:
    head = log.verify()
    assert head.sequence == 6
    assert log.verify(head) == head
    later = log.append("anna", "approver", "POST", "/x", "303")
    assert log.verify(head) == later
    assert Head.parse(str(later)) == later


SPOILED: dict[str, tuple[str, ...]] = {
    "altered": (
        "UPDATE access_log SET entry = CAST(replace(entry, 'olga', 'anna') AS BLOB) "
        "WHERE sequence = 3",
    ),
    "of another type": ("UPDATE access_log SET entry = 'olga' WHERE sequence = 3",),
    "rehashed": ("UPDATE access_log SET hash = zeroblob(32) WHERE sequence = 3",),
    "removed": ("DELETE FROM access_log WHERE sequence = 3",),
    "removed and closed up": (
        "DELETE FROM access_log WHERE sequence = 3",
        "UPDATE access_log SET sequence = sequence - 1 WHERE sequence > 3",
    ),
    "repeated": (
        "INSERT INTO access_log SELECT 7, at_ms, entry, hash FROM access_log WHERE sequence = 6",
    ),
    "swapped": (
        "UPDATE access_log SET sequence = 99 WHERE sequence = 2",
        "UPDATE access_log SET sequence = 2 WHERE sequence = 3",
        "UPDATE access_log SET sequence = 3 WHERE sequence = 99",
    ),
    "another time": ("UPDATE access_log SET at_ms = at_ms + 1 WHERE sequence = 3",),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_chain_that_was_touched_does_not(log: AccessLog, how: str) -> None:
    spoil(log, *SPOILED[how])
    with pytest.raises(VerificationFailed, match=r"access log entry \d"):
        log.verify()


def test_entries_cut_off_are_found_by_a_head_kept_elsewhere(log: AccessLog) -> None:
    head = log.verify()
    spoil(log, "DELETE FROM access_log WHERE sequence > 4")
    assert log.verify().sequence == 4
    with pytest.raises(VerificationFailed, match="do not contain the known head"):
        log.verify(head)


@pytest.mark.parametrize("text", ["", "x", "1:00", "-1:" + "00" * 32, "1:" + "zz" * 32])
def test_a_head_is_of_one_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Head.parse(text)


def test_time_on_record_starts_the_next_clock(log: AccessLog) -> None:
    database = log._database  # pyright: ignore[reportPrivateUsage]
    assert latest_time_ms(database) > 0
    clock = SteadyClock(latest_time_ms(database), lambda: 0, lambda: 50)
    assert clock.now_ms() == latest_time_ms(database)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.integers(0, 10**12),
    system=st.integers(0, 10**12),
    uptimes=st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
)
def test_a_clock_never_goes_back(start: int, system: int, uptimes: list[int]) -> None:
    values = iter([0, *uptimes])
    read: Callable[[], int] = lambda: next(values)  # noqa: E731
    clock = SteadyClock(start, lambda: system, read)
    seen = [clock.now_ms() for _ in uptimes]
    assert seen == sorted(seen)
    assert seen[0] >= max(start, system)
