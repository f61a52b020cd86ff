"""What guardrails are asked about: one moment of one person on one surface, in index arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tacit.client.guardrails.kinds import CHANNELS

IntArray = npt.NDArray[np.int64]


def no_items() -> IntArray:
    """Return an empty index array."""
    return np.empty(0, dtype=np.int64)


def channel_of(surface: str) -> str:
    """Name the channel of a surface: `push/cart` and `push` are push; `home` is in the app."""
    head = surface.partition("/")[0]
    return head if head in CHANNELS else "in_app"


@dataclass(frozen=True, slots=True)
class Situation:
    """One moment. Items are catalogue indices; arrays that belong together have one length.

    Attributes:
        now_ms: Unix milliseconds.
        surface: where the decision is shown.
        channel: how it gets there; see `channel_of`.
        time_zone: IANA name of the zone the person is in; None if the app did not say.
        opted_out: channels the person does not want.
        seeking_help: the person is looking for help right now.
        out_of_stock, owned: items.
        behaved, behaved_at_ms: items looked at, rated or put in the cart, and when last.
        shown, shown_at_ms: every showing of an item.
        messages_ms: channel → when a message went out on it.
        urgent, urgent_until_ms: items offered with urgency and their deadline, 0 for none given.
        disliked: items; `disliked_categories`: categories.
        stated_categories: categories the person said they like.
        excluded, filtered: items this one decision leaves out.
    """

    now_ms: int
    surface: str = "home"
    channel: str = "in_app"
    time_zone: str | None = None
    opted_out: frozenset[str] = frozenset()
    seeking_help: bool = False
    out_of_stock: IntArray = field(default_factory=no_items)
    owned: IntArray = field(default_factory=no_items)
    behaved: IntArray = field(default_factory=no_items)
    behaved_at_ms: IntArray = field(default_factory=no_items)
    shown: IntArray = field(default_factory=no_items)
    shown_at_ms: IntArray = field(default_factory=no_items)
    messages_ms: Mapping[str, IntArray] = field(default_factory=dict[str, IntArray])
    urgent: IntArray = field(default_factory=no_items)
    urgent_until_ms: IntArray = field(default_factory=no_items)
    disliked: IntArray = field(default_factory=no_items)
    disliked_categories: frozenset[str] = frozenset()
    stated_categories: frozenset[str] = frozenset()
    excluded: IntArray = field(default_factory=no_items)
    filtered: IntArray = field(default_factory=no_items)
