"""Session intent: what the session under way is about, by rules over its events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from tacit.client.events import Event, LoggedEvent

Intent = Literal["browse", "compare", "buy", "seek_help"]

MINUTE_MS = 60_000
SESSION_GAP_MS = 30 * MINUTE_MS
HELP_MS = 15 * MINUTE_MS
HELP_WORDS = frozenset(
    {"help", "support", "contact", "return", "returns", "refund", "refunds", "complaint"}
    | {"cancel", "warranty", "faq", "problem", "broken"}
)
"""Words of a page's name or of a search that tell of looking for help. English; an app in another
language says it itself with the property `intent: "seek_help"` on the event."""


def session_of(recent: Iterable[LoggedEvent], now_ms: int) -> list[LoggedEvent]:
    """Return the events of the session under way, the newest first; none without one.

    A session ends with half an hour without an event. What lies ahead of now, of a clock that was
    set back, is not of it.
    """
    session: list[LoggedEvent] = []
    later_ms = now_ms
    past = (one for one in recent if one.event.recorded_at_ms <= now_ms)
    for one in sorted(past, key=lambda e: e.event.recorded_at_ms, reverse=True):
        if later_ms - one.event.recorded_at_ms > SESSION_GAP_MS:
            break
        session.append(one)
        later_ms = one.event.recorded_at_ms
    return session


def session_intent(session: Sequence[LoggedEvent], now_ms: int) -> tuple[Intent | None, str]:
    """Tell what a session is about, and by which rule; None if there is none.

    Help first, then a cart that was not paid for, then three items of one kind looked at, or one
    item looked at twice.

    Args:
        session: as `session_of` returns it.
        now_ms: Unix milliseconds.
    """
    events = [one.event for one in session]
    if not events:
        return None, "no session under way"
    if any(now_ms - e.recorded_at_ms <= HELP_MS and seeks_help(e) for e in events):
        return "seek_help", "a page or a search about help in the last 15 minutes"
    signals = [event.signal for event in events]
    carts = [place for place, signal in enumerate(signals) if signal == "add_to_cart"]
    bought = [place for place, signal in enumerate(signals) if signal == "purchase"]
    if carts and (not bought or carts[0] < bought[0]):
        return "buy", "something is in the cart and not paid for"
    views = [item for e in events if e.signal == "product_view" for item in e.items]
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
