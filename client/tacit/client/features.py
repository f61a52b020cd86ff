"""Features of a person: transparent rules over permitted events, updated event by event.

Every feature names the signals it reads. Events of a signal that is not permitted never get here,
and a feature none of whose signals is permitted is absent (None), not zero.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tacit.client.catalogue import Catalogue
from tacit.client.events import Event, LoggedEvent

Stage = Literal["new", "exploring", "engaged", "loyal", "lapsing"]
Intent = Literal["browse", "compare", "buy", "seek_help"]
Band = Literal["none", "low", "medium", "high"]

DAY_MS, MINUTE_MS = 86_400_000, 60_000
SESSION_GAP_MS = 30 * MINUTE_MS
HELP_MS = 15 * MINUTE_MS
HALF_LIFE_MS = 30 * DAY_MS
ENGAGED_DAYS = 28

_ACTIVITY = frozenset({"page_view", "product_view", "search", "add_to_cart", "purchase", "rating"})
_LIKINGS: Mapping[str, float] = {
    "product_view": 1.0,
    "rating": 1.0,
    "add_to_cart": 1.5,
    "purchase": 2.0,
}
HELP_WORDS = frozenset(
    {"help", "support", "contact", "return", "returns", "refund", "refunds", "complaint"}
    | {"cancel", "warranty", "faq", "problem", "broken"}
)
"""Words of a page's name or of a search that tell of looking for help. English; an app in another
language says it itself with the property `intent: "seek_help"` on the event."""

FEATURE_SIGNALS: Mapping[str, frozenset[str]] = {
    "engagement": _ACTIVITY,
    "affinities": frozenset(_LIKINGS),
    "temporal": frozenset({"time_of_day"}),
    "stage": _ACTIVITY,
    "intent": frozenset({"page_view", "product_view", "search", "add_to_cart", "purchase"}),
    "lifetime_value": frozenset({"purchase"}),
}
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
class Features:
    """What permitted events say about a person now; None where nothing is permitted or known.

    Attributes:
        engagement: see `Engagement`.
        affinities: at most ten, the strongest first.
        hours: `(24,)` share of activity in each local hour; needs `time_of_day` and a zone.
        stage, stage_why: where in the journey, and the rule that says so.
        intent, intent_why: what the session under way is about, and why; None outside a session.
        lifetime_value: see `LifetimeValue`.
    """

    engagement: Engagement | None
    affinities: tuple[Affinity, ...] | None
    hours: tuple[float, ...] | None
    stage: Stage | None
    stage_why: str
    intent: Intent | None
    intent_why: str
    lifetime_value: LifetimeValue | None


@dataclass(slots=True)
class FeatureState:
    """What is remembered between events; `update` is the only thing that changes it."""

    days: dict[int, int] = field(default_factory=dict[int, int])
    hours: list[int] = field(default_factory=lambda: [0] * 24)
    likings: dict[str, float] = field(default_factory=dict[str, float])
    liked_at_ms: int = 0
    orders: list[tuple[int, str, float]] = field(default_factory=list[tuple[int, str, float]])
    recent: deque[Event] = field(default_factory=lambda: deque[Event](maxlen=200))
    first_ms: int | None = None
    last_ms: int | None = None

    def update(
        self, events: Sequence[LoggedEvent], catalogue: Catalogue | None, zone: str | None
    ) -> None:
        """Take permitted events into account, in the order of the log."""
        place = _zone(zone)
        for logged in events:
            event = logged.event
            if event.signal not in _ACTIVITY:
                continue
            at_ms = event.recorded_at_ms
            self.days[at_ms // DAY_MS] = self.days.get(at_ms // DAY_MS, 0) + 1
            self.first_ms = at_ms if self.first_ms is None else min(self.first_ms, at_ms)
            self.last_ms = at_ms if self.last_ms is None else max(self.last_ms, at_ms)
            if place is not None:
                self.hours[datetime.datetime.fromtimestamp(at_ms / 1000, place).hour] += 1
            if catalogue is not None and event.signal in _LIKINGS:
                self._like(event, catalogue)
            if event.signal == "purchase":
                self.orders.append((at_ms, *_paid(event)))
            self.recent.append(event)

    def _like(self, event: Event, catalogue: Catalogue) -> None:
        # All likings are kept as of one moment, so the order in which events come does not matter.
        at_ms = event.recorded_at_ms
        if at_ms > self.liked_at_ms:
            fading = 0.5 ** ((at_ms - self.liked_at_ms) / HALF_LIFE_MS)
            self.likings = {name: value * fading for name, value in self.likings.items()}
            self.liked_at_ms = at_ms
        weight = _LIKINGS[event.signal] * 0.5 ** ((self.liked_at_ms - at_ms) / HALF_LIFE_MS)
        for item in event.items:
            index = catalogue.index(item)
            for name in () if index is None else catalogue.items.categories_of(index):
                self.likings[name] = self.likings.get(name, 0.0) + weight


def read_features(
    state: FeatureState,
    permitted: Collection[str],
    zone: str | None,
    now_ms: int,
    hidden: Collection[str] = (),
) -> Features:
    """Work out the features as of now.

    Args:
        state: updated with permitted events only.
        permitted: signals that may be read for `decide`.
        zone: IANA name of the person's zone, or None.
        now_ms: Unix milliseconds.
        hidden: categories about which nothing may be inferred.
    """
    may = {name: bool(signals & set(permitted)) for name, signals in FEATURE_SIGNALS.items()}
    stage, stage_why = _stage(state, now_ms) if may["stage"] else (None, "not permitted")
    intent, intent_why = session_intent(state.recent, now_ms) if may["intent"] else (None, "")
    hours_known = may["temporal"] and _zone(zone) is not None and sum(state.hours) > 0
    return Features(
        engagement=_engagement(state, now_ms) if may["engagement"] else None,
        affinities=_affinities(state, hidden) if may["affinities"] else None,
        hours=tuple(n / sum(state.hours) for n in state.hours) if hours_known else None,
        stage=stage,
        stage_why=stage_why,
        intent=intent,
        intent_why=intent_why,
        lifetime_value=_lifetime_value(state, now_ms) if may["lifetime_value"] else None,
    )


def session_intent(recent: Collection[Event], now_ms: int) -> tuple[Intent | None, str]:
    """Tell what the session under way is about, and by which rule; None if there is none.

    Help first, then a cart that was not paid for, then three items of one kind looked at, or one
    item looked at twice.
    """
    session: list[Event] = []
    later_ms = now_ms
    for event in sorted(recent, key=lambda e: e.recorded_at_ms, reverse=True):
        if event.recorded_at_ms > now_ms:
            continue
        if later_ms - event.recorded_at_ms > SESSION_GAP_MS:
            break
        session.append(event)
        later_ms = event.recorded_at_ms
    if not session:
        return None, "no session under way"
    if any(now_ms - e.recorded_at_ms <= HELP_MS and seeks_help(e) for e in session):
        return "seek_help", "a page or a search about help in the last 15 minutes"
    signals = [event.signal for event in session]
    carts = [place for place, signal in enumerate(signals) if signal == "add_to_cart"]
    bought = [place for place, signal in enumerate(signals) if signal == "purchase"]
    if carts and (not bought or carts[0] < bought[0]):
        return "buy", "something is in the cart and not paid for"
    views = [item for e in session if e.signal == "product_view" for item in e.items]
    if len(set(views)) >= 3 or len(views) > len(set(views)):
        return "compare", "three items, or one item twice, looked at in this session"
    return "browse", "a session without a cart or a comparison"


def seeks_help(event: Event) -> bool:
    """Tell whether a page or a search is about help."""
    if event.properties.get("intent") == "seek_help":
        return True
    if event.signal not in ("page_view", "search"):
        return False
    told = (event.properties.get(key) for key in ("name", "title", "path", "query"))
    text = " ".join(one for one in told if isinstance(one, str)).lower()
    words = "".join(c if c.isalnum() else " " for c in text).split()
    return not HELP_WORDS.isdisjoint(words)


def _stage(state: FeatureState, now_ms: int) -> tuple[Stage | None, str]:
    if state.last_ms is None or state.first_ms is None:
        return "new", "nothing recorded yet"
    today = now_ms // DAY_MS
    active = sum(1 for day in state.days if today - ENGAGED_DAYS < day <= today)
    silent_days = (now_ms - state.last_ms) / DAY_MS
    orders = sum(1 for at_ms, _, _ in state.orders if now_ms - at_ms <= 180 * DAY_MS)
    span_days = max((state.last_ms - state.first_ms) / DAY_MS, 0.0)
    usual_gap = span_days / max(len(state.days) - 1, 1)
    if len(state.days) >= 3 and silent_days > max(14.0, 3.0 * usual_gap):
        return "lapsing", f"silent for {silent_days:.0f} days, usually back after {usual_gap:.0f}"
    if orders >= 2 and active >= 4:
        return "loyal", f"{orders} orders in half a year, active on {active} of 28 days"
    if active >= 4 or any(now_ms - at_ms <= ENGAGED_DAYS * DAY_MS for at_ms, _, _ in state.orders):
        return "engaged", f"active on {active} of 28 days, or bought in them"
    if len(state.days) >= 2 or sum(state.days.values()) >= 5:
        return "exploring", "came back, or looked at five things"
    return "new", "one day, fewer than five events"


def _engagement(state: FeatureState, now_ms: int) -> Engagement:
    today = now_ms // DAY_MS
    recent = {day: n for day, n in state.days.items() if today - ENGAGED_DAYS < day <= today}
    return Engagement(len(recent), sum(recent.values()), len(recent) / ENGAGED_DAYS)


def _affinities(state: FeatureState, hidden: Collection[str]) -> tuple[Affinity, ...]:
    told = {name: value for name, value in state.likings.items() if name not in hidden}
    total = sum(told.values())
    ranked = sorted(told.items(), key=lambda one: (-one[1], one[0]))[:10]
    return tuple(Affinity(name, value / total) for name, value in ranked if value > 0.0)


def _lifetime_value(state: FeatureState, now_ms: int) -> LifetimeValue:
    orders = [order for order in state.orders if now_ms - order[0] <= 365 * DAY_MS]
    spent: dict[str, float] = {}
    for _, currency, total in orders:
        if total > 0.0:
            spent[currency] = spent.get(currency, 0.0) + total
    count = len(orders)
    band: Band = (
        "none" if count == 0 else "low" if count == 1 else "medium" if count < 5 else "high"
    )
    return LifetimeValue(band, count, spent)


def _paid(event: Event) -> tuple[str, float]:
    total = event.properties.get("total", event.properties.get("revenue"))
    currency = event.properties.get("currency")
    usable = isinstance(total, int | float) and not isinstance(total, bool) and total > 0
    return currency if isinstance(currency, str) else "", float(total) if usable else 0.0  # type: ignore[arg-type]


def _zone(name: str | None) -> zoneinfo.ZoneInfo | None:
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
