"""What features remember between events; each event is taken into account once."""

from __future__ import annotations

import datetime
import zoneinfo
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tacit.client.catalogue import Catalogue
from tacit.client.events import Event, LoggedEvent

DAY_MS = 86_400_000
HALF_LIFE_MS = 30 * DAY_MS
MOST_CITED = 20
"""Events that a feature names at most; the newest."""

ACTIVITY = frozenset({"page_view", "product_view", "search", "add_to_cart", "purchase", "rating"})
LIKINGS: Mapping[str, float] = {
    "product_view": 1.0,
    "rating": 1.0,
    "add_to_cart": 1.5,
    "purchase": 2.0,
}
_SESSION_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Order:
    """A purchase: when, its currency and sum if it stated them, and its place in the log."""

    at_ms: int
    currency: str
    total: float
    sequence: int


def _cited() -> deque[int]:
    return deque[int](maxlen=MOST_CITED)


@dataclass(slots=True)
class FeatureState:
    """The sums that features are read from; `update` is the only thing that changes them.

    Attributes:
        days: UTC day → activity on it.
        newest_of_day: UTC day → newest event of it.
        hours, weekdays: activity by hour and by weekday of the person's zone, Monday first.
        timed: newest events that those count.
        likings: category → weight, as of `liked_at_ms`, halving in 30 days.
        liked_by: category → newest events that speak for it.
        orders: every purchase.
        recent: newest events, for the session under way.
        first_ms, last_ms: of all activity; None before any.
    """

    days: dict[int, int] = field(default_factory=dict[int, int])
    newest_of_day: dict[int, int] = field(default_factory=dict[int, int])
    hours: list[int] = field(default_factory=lambda: [0] * 24)
    weekdays: list[int] = field(default_factory=lambda: [0] * 7)
    timed: deque[int] = field(default_factory=_cited)
    likings: dict[str, float] = field(default_factory=dict[str, float])
    liked_at_ms: int = 0
    liked_by: dict[str, deque[int]] = field(default_factory=dict[str, "deque[int]"])
    orders: list[Order] = field(default_factory=list[Order])
    recent: deque[LoggedEvent] = field(
        default_factory=lambda: deque[LoggedEvent](maxlen=_SESSION_EVENTS)
    )
    first_ms: int | None = None
    last_ms: int | None = None

    def update(
        self, events: Sequence[LoggedEvent], catalogue: Catalogue | None, zone: str | None
    ) -> None:
        """Take permitted events into account, in the order of the log."""
        place = zone_of(zone)
        for logged in events:
            event = logged.event
            if event.signal not in ACTIVITY:
                continue
            at_ms = event.recorded_at_ms
            day = at_ms // DAY_MS
            self.days[day] = self.days.get(day, 0) + 1
            self.newest_of_day[day] = logged.sequence
            self.first_ms = at_ms if self.first_ms is None else min(self.first_ms, at_ms)
            self.last_ms = at_ms if self.last_ms is None else max(self.last_ms, at_ms)
            if place is not None:
                local = datetime.datetime.fromtimestamp(at_ms / 1000, place)
                self.hours[local.hour] += 1
                self.weekdays[local.weekday()] += 1
                self.timed.append(logged.sequence)
            if catalogue is not None and event.signal in LIKINGS:
                self._like(logged, catalogue)
            if event.signal == "purchase":
                self.orders.append(Order(at_ms, *_paid(event), logged.sequence))
            self.recent.append(logged)

    def _like(self, logged: LoggedEvent, catalogue: Catalogue) -> None:
        # All likings are kept as of one moment, so the order in which events come does not matter.
        event = logged.event
        at_ms = event.recorded_at_ms
        if at_ms > self.liked_at_ms:
            fading = 0.5 ** ((at_ms - self.liked_at_ms) / HALF_LIFE_MS)
            self.likings = {name: value * fading for name, value in self.likings.items()}
            self.liked_at_ms = at_ms
        weight = LIKINGS[event.signal] * 0.5 ** ((self.liked_at_ms - at_ms) / HALF_LIFE_MS)
        for item in event.items:
            index = catalogue.index(item)
            for name in () if index is None else catalogue.items[index].categories:
                self.likings[name] = self.likings.get(name, 0.0) + weight
                self.liked_by.setdefault(name, _cited()).append(logged.sequence)


def zone_of(name: str | None) -> zoneinfo.ZoneInfo | None:
    """Return the zone of an IANA name, None for none that is known."""
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _paid(event: Event) -> tuple[str, float]:
    total = event.properties.get("total", event.properties.get("revenue"))
    currency = event.properties.get("currency")
    usable = isinstance(total, int | float) and not isinstance(total, bool) and total > 0
    return currency if isinstance(currency, str) else "", float(total) if usable else 0.0  # type: ignore[arg-type]
