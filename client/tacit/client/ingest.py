"""Ingest: from what an app reports to an event of the log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from tacit.client.errors import BadEvent, UnknownEvent
from tacit.client.events import Event
from tacit.privacy.errors import BadDocument
from tacit.privacy.signals import EVENT_SIGNALS, Sensitivity, signal_of_event

MAX_EVENT_BYTES = 16_384
# Year 9999 begins: every zone has a date for what comes before. What comes after is another unit.
END_OF_TIME_MS = 253_370_764_800_000
_ITEM_KEYS = ("product_id", "item_id")
_VALUE_KEYS = ("value", "rating")


def read_event(
    name: str, properties: Mapping[str, object], recorded_at_ms: int, event_id: str = ""
) -> Event:
    """Turn a reported event into one that can be logged.

    Names are those of the Segment specification (`Product Viewed`) or a signal's own
    (`product_view`). Items are taken from `product_id` or `item_id`, or from each of a list
    `products`; a number from `value` or `rating`.

    Args:
        name: event name.
        properties: JSON values.
        recorded_at_ms: Unix milliseconds.
        event_id: what it will be recorded under.

    Raises:
        UnknownEvent: if the name stands for no signal of the catalogue.
        BadEvent: if the signal must never be recorded, or the time or a property cannot be used.
    """
    try:
        found = signal_of_event(name)
    except BadDocument:
        raise UnknownEvent(
            f"expected one of {', '.join(EVENT_SIGNALS)}, or the name of a signal; "
            "got a name that stands for neither"
        ) from None
    if found.sensitivity is Sensitivity.PROHIBITED:
        raise BadEvent(f"signal {found.name!r} is prohibited and never recorded")
    check_time(recorded_at_ms)
    rest = dict(properties)
    event = Event(
        name=name,
        signal=found.name,
        items=_items(rest),
        value=_value(rest),
        recorded_at_ms=recorded_at_ms,
        properties=rest,
        event_id=event_id,
    )
    try:
        size = len(event.to_bytes())
    except (TypeError, ValueError, RecursionError):
        raise BadEvent("properties: expected JSON values, finite numbers among them") from None
    if size > MAX_EVENT_BYTES:
        raise BadEvent(f"expected an event of at most {MAX_EVENT_BYTES} bytes, got {size}")
    return event


def check_time(recorded_at_ms: object) -> None:
    """Refuse what is no time in Unix milliseconds: one that has no date would fail every reader.

    Raises:
        BadEvent: if it is no integer, negative, or later than year 9998.
    """
    if type(recorded_at_ms) is not int:
        raise BadEvent("ts: expected Unix milliseconds, an integer")
    if recorded_at_ms < 0:
        raise BadEvent("ts: expected Unix milliseconds, got a negative number")
    if recorded_at_ms >= END_OF_TIME_MS:
        raise BadEvent("ts: expected Unix milliseconds, got a time after year 9998: another unit?")


def is_text(value: str) -> bool:
    """Whether a string is well-formed Unicode; a lone surrogate cannot be stored or handed out."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _items(properties: dict[str, object]) -> tuple[str, ...]:
    for key in _ITEM_KEYS:
        if key in properties:
            return (_item_id(properties.pop(key)),)
    products = properties.get("products")
    if products is None:
        return ()
    if not isinstance(products, Sequence) or isinstance(products, str | bytes):
        raise BadEvent("products: expected a list of objects with a product_id")
    ids: list[str] = []
    for product in cast(Sequence[object], products):
        if not isinstance(product, Mapping):
            raise BadEvent("products: expected a list of objects with a product_id")
        fields = cast(Mapping[str, object], product)
        ids.append(_item_id(next((fields[key] for key in _ITEM_KEYS if key in fields), None)))
    return tuple(ids)


def _item_id(value: object) -> str:
    if not isinstance(value, str) or not value or not is_text(value):
        raise BadEvent("product_id: expected a string that is not empty, of well-formed Unicode")
    return value


def _value(properties: dict[str, object]) -> float | None:
    for key in _VALUE_KEYS:
        if key in properties:
            value = properties.pop(key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadEvent(f"{key}: expected a number")
            if not math.isfinite(value):
                raise BadEvent(f"{key}: expected a finite number")
            return float(value)
    return None
