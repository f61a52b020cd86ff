"""Progress: lines in a log, bars on a terminal, and no tick on a step that failed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tacit.cli._progress import Bars


def test_a_log_gets_a_line_when_something_begins_and_when_it_is_complete() -> None:
    out = io.StringIO()
    with Bars(Console(file=out, force_terminal=False)) as bars:
        bars.step("starting")
        for done in (1, 2, 3, 3):
            bars.count("round 1", done, 3)
    assert out.getvalue().splitlines() == ["starting …", "round 1: 1 of 3", "round 1: 3 of 3"]


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_shows_whole_words_and_counts(width: int) -> None:
    out = io.StringIO()
    with Bars(Console(file=out, force_terminal=True, width=width)) as bars:
        bars.step("starting the gateway and its SuperNode")
        bars.count("enrolling devices", 40, 40)
    shown = out.getvalue()
    assert "✓" in shown
    assert "starting the gateway and its SuperNode" in shown
    assert "40/40" in shown
    assert "…" not in shown


def test_a_step_that_failed_gets_no_tick() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=80))

    def fail() -> None:
        with bars:
            bars.step("starting")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert "✓" not in out.getvalue()
    assert "✗" in out.getvalue()
