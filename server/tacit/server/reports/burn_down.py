"""An account's ε over the days of a review: what was spent, against the cap and its alerts."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tacit.server.budget.timeline import BudgetStep
from tacit.server.reports.charts import INK
from tacit.server.reports.document import Chart
from tacit.server.reports.figures import exact, second
from tacit.server.reports.period import Period

_WIDTH, _HEIGHT = 430, 200
_LABEL_GAP = 14.0  # pixels between two labels at least
_ZOOM = 20  # steps within this share of the period are drawn on their own scale of time
_LEAST_SPAN_MS = 60_000
_DAY_MS = 86_400_000
_FORMS = (
    (_DAY_MS / 12, "%H:%M:%S"),
    (_DAY_MS, "%H:%M"),
    (300 * _DAY_MS, "%d %b"),
    (float("inf"), "%b %Y"),
)
"""How moments stand on the axis, by what it spans in milliseconds."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the chart: (moment, value) pairs, each holding until the next."""

    name: str
    points: list[tuple[int, float]]
    dash: tuple[int, ...]
    width: float
    is_alert: bool = False


def burn_down(
    steps: Sequence[BudgetStep], thresholds: Sequence[float], period: Period, until_ms: int
) -> Chart | None:
    """Draw lifetime and window ε of one account against cap and alerts.

    Args:
        steps: All steps of the account up to the end of the period.
        thresholds: Fractions of the cap at which people are told, as of the end.
        period: What the review covers.
        until_ms: Moment of the newest entry known; lines end there, or with the period.

    Returns:
        The chart; None where the account was not opened by then.
    """
    if not steps:
        return None
    before = [one for one in steps if one.recorded_at_ms < period.start_ms]
    within = [one for one in steps if period.holds(one.recorded_at_ms)]
    end_ms = max(min(period.end_ms - 1, until_ms), period.start_ms)
    from_ms, to_ms = _span(within, period.start_ms, end_ms)
    drawn = [*before[-1:], *within]

    moments = [max(one.recorded_at_ms, from_ms) for one in drawn]

    def points(values: list[float]) -> list[tuple[int, float]]:
        found = list(zip(moments, values, strict=True))
        return [*found, (to_ms, values[-1])] if found else []

    caps = [one.cap_epsilon for one in drawn]
    lines = [
        _Line("lifetime ε", points([one.spent_epsilon for one in drawn]), (1, 0), 2.2),
        _Line("window ε", points([one.window_epsilon for one in drawn]), (7, 4), 1.6),
        _Line("cap", points(caps), (2, 3), 2.0),
        *(
            _Line(
                f"alert at {share:.6g} of the cap",
                points([share * cap for cap in caps]),
                (1, 5),
                1.0,
                is_alert=True,
            )
            for share in thresholds
            if share < 1.0
        ),
    ]
    zoomed = (from_ms, to_ms) != (period.start_ms, end_ms)
    return Chart(
        caption=(
            "ε spent against the cap of a window. ε composes and does not add, so the distance to "
            "the cap is not what one further task may cost."
            + (
                f" Drawn are the moments from {second(from_ms)} to {second(to_ms)} UTC, in which "
                "everything of the period happened."
                if zoomed
                else ""
            )
        ),
        alternative=_in_words(lines, from_ms, to_ms),
        specification=_specification(lines, from_ms, to_ms),
    )


def _span(within: Sequence[BudgetStep], start_ms: int, end_ms: int) -> tuple[int, int]:
    if not within:
        return start_ms, max(end_ms, start_ms + _LEAST_SPAN_MS)
    first = min(one.recorded_at_ms for one in within)
    last = max(one.recorded_at_ms for one in within)
    if (last - first) * _ZOOM > end_ms - start_ms:
        return start_ms, end_ms
    margin = max((last - first) // 8, _LEAST_SPAN_MS // 6)
    return max(first - margin, start_ms), max(min(last + margin, end_ms + margin), first + margin)


def _specification(lines: Sequence[_Line], from_ms: int, to_ms: int) -> dict[str, Any]:
    values = [value for line in lines for _, value in line.points]
    top = max([*values, 1e-6]) * 1.08
    step_ms = to_ms - from_ms
    form = next(form for longest_ms, form in _FORMS if step_ms < longest_ms)
    day = datetime.datetime.fromtimestamp(from_ms / 1000, datetime.UTC)
    title = f"UTC, {day:%Y-%m-%d}" if step_ms < _DAY_MS else "UTC"
    x = {
        "field": "at",
        "type": "temporal",
        "scale": {"type": "utc", "domain": [from_ms, to_ms]},
        "axis": {"format": form, "tickCount": 6, "grid": False, "title": title},
    }
    y = {
        "field": "value",
        "type": "quantitative",
        "scale": {"domain": [0, top]},
        "axis": {"tickCount": 6, "title": "ε"},
    }
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": [{"at": at, "value": value} for at, value in line.points]},
            "mark": {
                "type": "line",
                "interpolate": "step-after",
                "color": INK,
                "strokeWidth": line.width,
                "strokeDash": list(line.dash),
            },
            "encoding": {"x": x, "y": y},
        }
        for line in lines
        if line.points
    ]
    layers.append(
        {
            "data": {"values": _labels(lines, top)},
            "mark": {"type": "text", "align": "left", "baseline": "middle", "clip": False},
            "encoding": {
                "x": {"value": _WIDTH + 6},
                "y": {"field": "pixel", "type": "quantitative", "scale": None},
                "text": {"field": "name"},
            },
        }
    )
    return {"width": _WIDTH, "height": _HEIGHT, "padding": {"right": 5}, "layer": layers}


def _labels(lines: Sequence[_Line], top: float) -> list[dict[str, object]]:
    """Return names at the right ends of the lines, equal ends together, none over another."""
    ends: dict[tuple[float, bool], list[str]] = {}
    for line in lines:
        if line.points:
            ends.setdefault((line.points[-1][1], line.is_alert), []).append(line.name)
    placed: list[dict[str, object]] = []
    lowest = float("inf")
    for value, is_alert in sorted(ends, key=lambda end: (end[0], not end[1])):  # bottom up
        lowest = min(_HEIGHT * (1.0 - value / top), lowest - _LABEL_GAP)
        names = " = ".join(ends[value, is_alert])
        placed.append({"pixel": lowest, "name": f"{names}: {exact(value)}"})
    return placed


def _in_words(lines: Sequence[_Line], from_ms: int, to_ms: int) -> str:
    told = "; ".join(
        f"{line.name} from {exact(line.points[0][1])} to {exact(line.points[-1][1])}"
        for line in lines
        if line.points
    )
    return f"From {second(from_ms)} to {second(to_ms)} UTC: {told}"
