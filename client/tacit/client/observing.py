"""Verbs by which an app says what happened, what a person likes, and what holds right now."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping

from tacit.client.attention import split
from tacit.client.decision import Ack
from tacit.client.errors import BadEvent
from tacit.client.events import MAX_EVENT_ID, Event
from tacit.client.guardrails.kinds import CHANNELS
from tacit.client.ingest import is_text, read_event
from tacit.client.parts import Parts

_SUPPRESSIBLE = {"item": "items", "category": "categories", "channel": "channels"}


class Observing(Parts):
    """The verbs `track`, `track_all`, `rate`, `page`, `prefer`, `opt_out`, `context`."""

    def track(
        self,
        event: str,
        properties: Mapping[str, object] | None = None,
        *,
        event_id: str | None = None,
        ts: int | None = None,
    ) -> Ack:
        """Record an event; no kill of the process can lose it once this returns.

        Args:
            event: a Segment event name (`Product Viewed`) or a signal (`product_view`).
            properties: JSON values; `product_id` names the item. `dwell_ms` and `scroll` of a page
                or an item are recorded as events of the signals `dwell` and `scroll`, if those may
                be.
            event_id: names the event for good: the same id again records nothing.
            ts: Unix milliseconds; now if None.

        Raises:
            UnknownEvent: if the event stands for no signal of the catalogue.
            BadEvent: if the time, the id or a property cannot be used.
        """
        return self.track_all([(event, properties or {}, event_id, ts)])[0]

    def track_all(
        self, events: Iterable[tuple[str, Mapping[str, object], str | None, int | None]]
    ) -> list[Ack]:
        """Record many `(event, properties, event_id, ts)` in one transaction, all or none."""
        now_ms = self.clock_ms()
        self._sweep(now_ms)
        permitted = frozenset[str]().union(*self.consents.state(now_ms).values())
        kept: list[tuple[Event, str]] = []
        extra: list[tuple[Event, str]] = []
        acks: list[Ack] = []
        for name, properties, event_id, ts in events:
            known_as = os.urandom(16).hex() if event_id is None else event_id
            if not 0 < len(known_as) <= MAX_EVENT_ID or not is_text(known_as):
                raise BadEvent(f"event_id: expected 1 to {MAX_EVENT_ID} Unicode characters")
            at_ms = now_ms if ts is None else ts
            event, attention = split(read_event(name, properties, at_ms, known_as))
            if event.signal in permitted:
                kept.append((event, known_as))
            acks.append(Ack(known_as, None, event.signal in permitted, False))
            extra += [(one, f"{known_as}/{one.signal}") for one in attention]
        told = [one for one in extra if one[0].signal in permitted]
        logged = iter(self.events.append_all(kept + told))
        for position, ack in enumerate(acks):
            if ack.recorded:
                sequence, new = next(logged)
                # Without a sequence it was recorded once and forgotten since.
                acks[position] = Ack(ack.event_id, sequence or None, sequence > 0, not new)
        return acks

    def rate(self, item: str, value: float, *, event_id: str | None = None) -> Ack:
        """Record a rating the user gave."""
        return self.track("Product Rated", {"product_id": item, "value": value}, event_id=event_id)

    def page(
        self, name: str, dwell_ms: int = 0, scroll: float = 0.0, *, event_id: str | None = None
    ) -> Ack:
        """Record that a page was opened.

        Args:
            name: of the page; one about help (`Returns`, `Contact`) tells of looking for help.
            dwell_ms: how long it was looked at.
            scroll: how far it was scrolled, 0 to 1.
            event_id: see `track`.
        """
        properties = {"name": name, "dwell_ms": dwell_ms, "scroll": scroll}
        return self.track("Page Viewed", properties, event_id=event_id)

    def prefer(self, kind: str, value: str, weight: float) -> Ack | None:
        """Record a preference the person stated; in force when this returns.

        Above zero it is an event of the signal `preference` and speaks for what it names. Below
        zero it is an instruction: what it names is never shown, whatever the consents. Zero takes
        both back.

        Args:
            kind: `item` or `category`; `channel` below or at zero only (opting out, and in again).
            value: id of the item, name of the category or channel.
            weight: from -1 to 1.

        Returns:
            The event's acknowledgement, or None if there was no event to record.

        Raises:
            BadEvent: if kind or weight cannot be used.
        """
        if kind not in _SUPPRESSIBLE or not -1.0 <= weight <= 1.0 or not value:
            raise BadEvent("prefer: expected item, category or channel, and a weight in [-1, 1]")
        if kind == "channel" and (weight > 0.0 or value not in CHANNELS):
            raise BadEvent(f"prefer: expected a channel among {', '.join(CHANNELS)}, weight <= 0")
        held = getattr(self.suppressions.get(), _SUPPRESSIBLE[kind])
        if (value in held) != (weight < 0.0):
            self.suppressions.change(_SUPPRESSIBLE[kind], value, suppressed=weight < 0.0)
        if kind == "channel":
            return None
        # A dislike takes an earlier liking back as well.
        stated = {"kind": kind, "name": value, "value": max(weight, 0.0)}
        return self.track("Preference Set", stated)

    def opt_out(self, channel: str, opted_out: bool = True) -> None:
        """Opt the person out of a channel, or in again; beats every other rule."""
        self.prefer("channel", channel, -1.0 if opted_out else 0.0)

    def context(
        self,
        *,
        out_of_stock: Collection[str] | None = None,
        urgent_until_ms: Mapping[str, int] | None = None,
        time_zone: str | None = None,
    ) -> None:
        """Tell the device what only the app knows now; what is None stays as it was.

        Args:
            out_of_stock: ids of items that cannot be had.
            urgent_until_ms: items offered with urgency → their true deadline, Unix ms; 0 for none.
            time_zone: IANA name of the zone the person is in.
        """
        inventory = self._moments.inventory
        if out_of_stock is not None:
            inventory.out_of_stock = frozenset(out_of_stock)
        if urgent_until_ms is not None:
            inventory.urgent_until_ms = dict(urgent_until_ms)
        if time_zone is not None:
            inventory.time_zone = time_zone
