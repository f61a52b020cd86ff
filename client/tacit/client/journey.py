"""The journey: its stage, and the risk that it ends, by rules over the days somebody was active."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from tacit.client.feature_state import DAY_MS, FeatureState

Stage = Literal["new", "exploring", "engaged", "loyal", "lapsing"]

ENGAGED_DAYS = 28
CHURN_DAYS = 14
_LEAST_DAYS = 3
_Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class ChurnRisk:
    """How probable it is that somebody does not come back in time, by their own rhythm.

    Of the earlier gaps between active days that were longer than the present silence, the share
    that went on for another `within_days`. The interval is that of Agresti and Coull 1998
    ("Approximate is better than exact for interval estimation of binomial proportions"): two gaps
    that went on and two that did not are added, so that it is also defined, and wide, for few gaps.

    Attributes:
        risk: in (0, 1).
        low, high: 95% interval.
        within_days: not back within so many days from now.
        gaps: how many gaps it rests on.
    """

    risk: float
    low: float
    high: float
    within_days: int
    gaps: int


def stage_of(state: FeatureState, now_ms: int) -> tuple[Stage, str]:
    """Tell the stage of the journey, and by which rule."""
    if state.last_ms is None or state.first_ms is None:
        return "new", "nothing recorded yet"
    active = len(active_days(state, now_ms))
    silent_days = (now_ms - state.last_ms) / DAY_MS
    orders = sum(1 for order in state.orders if now_ms - order.at_ms <= 180 * DAY_MS)
    span_days = max((state.last_ms - state.first_ms) / DAY_MS, 0.0)
    usual_gap = span_days / max(len(state.days) - 1, 1)
    if len(state.days) >= 3 and silent_days > max(14.0, 3.0 * usual_gap):
        return "lapsing", f"silent for {silent_days:.0f} days, usually back after {usual_gap:.0f}"
    if orders >= 2 and active >= 4:
        return "loyal", f"{orders} orders in half a year, active on {active} of 28 days"
    bought = any(now_ms - order.at_ms <= ENGAGED_DAYS * DAY_MS for order in state.orders)
    if active >= 4 or bought:
        return "engaged", f"active on {active} of 28 days, or bought in them"
    if len(state.days) >= 2 or sum(state.days.values()) >= 5:
        return "exploring", "came back, or looked at five things"
    return "new", "one day, fewer than five events"


def churn_risk(state: FeatureState, now_ms: int) -> tuple[ChurnRisk | None, str]:
    """Tell the risk of churn, and by which rule; None before three active days."""
    today = now_ms // DAY_MS
    days = sorted(day for day in state.days if day <= today)
    if len(days) < _LEAST_DAYS:
        return None, f"not known before {_LEAST_DAYS} active days"
    silent = today - days[-1]
    longer = [gap for gap in (b - a for a, b in itertools.pairwise(days)) if gap > silent]
    went_on = sum(1 for gap in longer if gap > silent + CHURN_DAYS)
    count = len(longer) + 4
    risk = (went_on + 2) / count
    margin = _Z_95 * math.sqrt(risk * (1.0 - risk) / count)
    return (
        ChurnRisk(risk, max(risk - margin, 0.0), min(risk + margin, 1.0), CHURN_DAYS, len(longer)),
        f"of {len(longer)} earlier gaps longer than {silent} days, {went_on} went on for another "
        f"{CHURN_DAYS}",
    )


def active_days(state: FeatureState, now_ms: int) -> list[int]:
    """Return the UTC days with activity among the last 28, today among them, increasing."""
    today = now_ms // DAY_MS
    return sorted(day for day in state.days if today - ENGAGED_DAYS < day <= today)
