"""Features of a person: transparent rules over permitted events, updated event by event.

Every feature names the signals it reads, the rule that made it and the events it rests on. Events
of a signal that is not permitted never get here, and a feature none of whose signals is permitted,
or that the person switched off, is absent (None), not zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tacit.client.feature_state import (
    ACTIVITY,
    DAY_MS,
    LIKINGS,
    MOST_CITED,
    FeatureState,
    zone_of,
)
from tacit.client.journey import (
    ENGAGED_DAYS,
    ChurnRisk,
    Stage,
    active_days,
    churn_risk,
    stage_of,
)
from tacit.client.session_intent import Intent, session_intent, session_of

Band = Literal["none", "low", "medium", "high"]

FEATURE_SIGNALS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "engagement": ACTIVITY,
        "affinities": frozenset(LIKINGS),
        "temporal": frozenset({"time_of_day"}),
        "stage": ACTIVITY,
        "intent": frozenset({"page_view", "product_view", "search", "add_to_cart", "purchase"}),
        "churn": ACTIVITY,
        "lifetime_value": frozenset({"purchase"}),
    }
)
"""Feature → signals it reads; it is absent when none of them is permitted for `decide`."""


@dataclass(frozen=True, slots=True)
class Engagement:
    """How much somebody uses the app.

    Attributes:
        active_days: days with activity among the last 28.
        events: activity in the last 28 days.
        intensity: `active_days / 28`, in [0, 1].
    """

    active_days: int
    events: int
    intensity: float


@dataclass(frozen=True, slots=True)
class Affinity:
    """A category and its share of everything liked, in (0, 1]; a liking halves in 30 days."""

    category: str
    share: float


@dataclass(frozen=True, slots=True)
class LifetimeValue:
    """What somebody bought in the last 365 days.

    Attributes:
        band: `none` without an order, `low` for one, `medium` for two to four, `high` from five.
        orders: how many.
        spent: currency → sum of the orders that stated one.
    """

    band: Band
    orders: int
    spent: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Why:
    """What made a feature, or why it is absent.

    Attributes:
        rule: the rule that gave the answer, one line.
        events: sequences of the newest events it rests on, at most 20, increasing.
    """

    rule: str
    events: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Features:
    """What permitted events say about a person now; None where nothing is permitted or known.

    Attributes:
        engagement: see `Engagement`.
        affinities: at most ten, the strongest first.
        hours, weekdays: `(24,)` and `(7,)` shares of activity in each local hour and on each
            weekday, Monday first; need `time_of_day` and a zone.
        stage, stage_why: where in the journey, and the rule that says so.
        intent, intent_why: what the session under way is about, and why; None outside a session.
        churn: see `ChurnRisk`; an installed release predicts it too, from all users.
        lifetime_value: see `LifetimeValue`.
        why: feature → rule and events; for every name of `FEATURE_SIGNALS`.
    """

    engagement: Engagement | None
    affinities: tuple[Affinity, ...] | None
    hours: tuple[float, ...] | None
    weekdays: tuple[float, ...] | None
    stage: Stage | None
    stage_why: str
    intent: Intent | None
    intent_why: str
    churn: ChurnRisk | None
    lifetime_value: LifetimeValue | None
    why: Mapping[str, Why]


def read_features(
    state: FeatureState,
    permitted: Collection[str],
    zone: str | None,
    now_ms: int,
    hidden: Collection[str] = (),
    switched_off: Collection[str] = (),
) -> Features:
    """Work out the features as of now.

    Args:
        state: updated with permitted events only.
        permitted: signals that may be read for `decide`.
        zone: IANA name of the person's zone, or None.
        now_ms: Unix milliseconds.
        hidden: categories about which nothing may be inferred.
        switched_off: features that the person does not want.
    """
    absent = {
        name: Why("not permitted" if name not in switched_off else "switched off")
        for name, signals in FEATURE_SIGNALS.items()
        if name in switched_off or not signals & set(permitted)
    }
    session = session_of(state.recent, now_ms)
    intent, intent_rule = session_intent(session, now_ms)
    stage, stage_rule = stage_of(state, now_ms)
    churn, churn_rule = churn_risk(state, now_ms)
    affinities = _affinities(state, hidden)
    hours_known = zone_of(zone) is not None and sum(state.hours) > 0
    every_day = [state.newest_of_day[day] for day in sorted(state.days)]
    orders = [order.sequence for order in state.orders if now_ms - order.at_ms <= _YEAR_MS]
    liked = {n for one in affinities for n in state.liked_by[one.category]}
    today = {n for day in active_days(state, now_ms) for n in [state.newest_of_day[day]]}
    why = {
        "engagement": Why("days with activity among the last 28", _newest(today)),
        "affinities": Why("what was looked at, rated or bought, by category", _newest(liked)),
        "temporal": Why("activity by local hour and weekday", _newest(state.timed)),
        "stage": Why(stage_rule, _newest([*every_day, *(o.sequence for o in state.orders)])),
        "intent": Why(intent_rule, _newest(one.sequence for one in session)),
        "churn": Why(churn_rule, _newest(every_day)),
        "lifetime_value": Why("orders of the last 365 days", _newest(orders)),
    } | absent

    def known(name: str) -> bool:
        return name not in absent

    return Features(
        engagement=_engagement(state, now_ms) if known("engagement") else None,
        affinities=affinities if known("affinities") else None,
        hours=_shares(state.hours) if hours_known and known("temporal") else None,
        weekdays=_shares(state.weekdays) if hours_known and known("temporal") else None,
        stage=stage if known("stage") else None,
        stage_why=why["stage"].rule,
        intent=intent if known("intent") else None,
        intent_why=why["intent"].rule,
        churn=churn if known("churn") else None,
        lifetime_value=_lifetime_value(state, now_ms) if known("lifetime_value") else None,
        why=MappingProxyType(why),
    )


_YEAR_MS = 365 * DAY_MS


def _newest(sequences: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(sequences))[-MOST_CITED:])


def _shares(counts: Sequence[int]) -> tuple[float, ...]:
    return tuple(n / sum(counts) for n in counts)


def _engagement(state: FeatureState, now_ms: int) -> Engagement:
    days = active_days(state, now_ms)
    return Engagement(len(days), sum(state.days[day] for day in days), len(days) / ENGAGED_DAYS)


def _affinities(state: FeatureState, hidden: Collection[str]) -> tuple[Affinity, ...]:
    told = {name: value for name, value in state.likings.items() if name not in hidden}
    total = sum(told.values())
    ranked = sorted(told.items(), key=lambda one: (-one[1], one[0]))[:10]
    return tuple(Affinity(name, value / total) for name, value in ranked if value > 0.0)


def _lifetime_value(state: FeatureState, now_ms: int) -> LifetimeValue:
    orders = [order for order in state.orders if now_ms - order.at_ms <= _YEAR_MS]
    spent: dict[str, float] = {}
    for order in orders:
        if order.total > 0.0:
            spent[order.currency] = spent.get(order.currency, 0.0) + order.total
    count = len(orders)
    band: Band = (
        "none" if count == 0 else "low" if count == 1 else "medium" if count < 5 else "high"
    )
    return LifetimeValue(band, count, spent)
