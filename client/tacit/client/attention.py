"""Attention: how long something was looked at, as signals of their own.

An app reports `dwell_ms` and `scroll` with a page or an item. A person may agree to one and not the
other, so each is logged as its own event of its own signal, or not at all; the event it came with
never carries it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from tacit.client.errors import BadEvent
from tacit.client.events import Event

_LOOKED_AT = frozenset({"page_view", "product_view"})
_UNITS = (("dwell", "dwell_ms", 1000.0), ("scroll", "scroll", 1.0))

LEAST_VIEW, MOST_ADDED, HALF_S = 0.25, 1.5, 20.0


def split(event: Event) -> tuple[Event, tuple[Event, ...]]:
    """Take attention out of an event.

    Returns:
        The event without it, and an event of `dwell` (value: seconds) and of `scroll` (value: 0 to
        1) for what was there and above zero.

    Raises:
        BadEvent: if it is no number, or negative.
    """
    told = event.properties
    if ("dwell_ms" not in told and "scroll" not in told) or event.signal not in _LOOKED_AT:
        return event, ()
    properties = dict(told)
    found = tuple(_found(event, properties))
    return replace(event, properties=properties), found


def view_weight(looked_s: float) -> float:
    """Weigh a view by how long the item was looked at, all in all.

    A glance counts a quarter, twenty seconds what a view without the signal counts, and however
    long at most 1.75, below a purchase: 0.25 + 1.5 · s / (s + 20).
    """
    return LEAST_VIEW + MOST_ADDED * looked_s / (looked_s + HALF_S)


def _found(event: Event, properties: dict[str, object]) -> Iterator[Event]:
    for signal, key, unit in _UNITS:
        value = properties.pop(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadEvent(f"{key}: expected a number")
        if not math.isfinite(value) or value < 0:
            raise BadEvent(f"{key}: expected a finite number from 0")
        if value > 0:
            yield Event(signal, signal, event.items, value / unit, event.recorded_at_ms)
