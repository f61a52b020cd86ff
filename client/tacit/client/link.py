"""Linking: several devices of one person, through an export that the person carries over.

No server takes part and none could read an export. What arrives is used for decisions on the
receiving device, as far as the consents *there* permit; it is never contributed from there, so a
shared event still counts once in every sum. Merging is idempotent by event id: in any order and as
often as one likes, also back to where the events came from.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tacit.client.errors import ExportRefused, StoreDamaged
from tacit.client.events import MAX_EVENT_ID, Event, EventLog
from tacit.client.ingest import END_OF_TIME_MS, MAX_EVENT_BYTES, is_text
from tacit.client.suppressions import Suppressed, Suppressions
from tacit.privacy.errors import BadDocument
from tacit.privacy.signals import SIGNALS, Sensitivity, signal_of_event

MAX_CONTENT_BYTES = 256 << 20
"""Largest content of an export, unpacked."""

_INSTRUCTIONS = ("items", "categories", "channels", "features")
_TYPE = "tacit.link/1"


@dataclass(frozen=True, slots=True)
class Linked:
    """What linking did.

    Attributes:
        device_id: the device the export is from.
        events: how many it held.
        new: recorded now.
        known: recorded or forgotten here before.
        not_permitted: left out, for no consent to `decide` here covers their signal.
        expired: left out, for this device keeps their signal no longer than that.
        instructions: dislikes, opted-out channels and switched-off features that were added.
    """

    device_id: str
    events: int
    new: int
    known: int
    not_permitted: int
    expired: int
    instructions: int


def export_content(log: EventLog, suppressed: Suppressed, device_id: str) -> bytes:
    """Return what another device of the person may take over: events and instructions."""
    events = [
        [
            entry.event.event_id or _own_id(device_id, entry.sequence),
            entry.event.to_bytes().decode(),
        ]
        for entry in log.read(SIGNALS, linked=True)
    ]
    document = {
        "type": _TYPE,
        "device_id": device_id,
        "events": events,
        "items": sorted(suppressed.items),
        "categories": sorted(suppressed.categories),
        "channels": sorted(suppressed.channels),
        "features": sorted(suppressed.features),
    }
    return zlib.compress(json.dumps(document, allow_nan=False).encode())


def merge(
    content: bytes,
    log: EventLog,
    suppressions: Suppressions,
    *,
    device_id: str,
    permits: Callable[[Event], bool],
    expired: Callable[[Event], bool],
) -> Linked:
    """Take over what an export holds; all of it or nothing.

    Args:
        content: of `export_content`, authenticated.
        log: of the receiving device.
        suppressions: of the receiving device; instructions hold whatever the consents.
        device_id: of the receiving device, whose own events come back under this name.
        permits: whether a consent here covers an event.
        expired: whether an event is too old to be kept here.

    Raises:
        ExportRefused: if it does not make sense; nothing was taken over.
    """
    sender, events, instructions = _read(content)
    own = f"{device_id}/"
    returned = [one for one in events if one[1].startswith(own)]
    fresh = [one for one in events if not one[1].startswith(own)]
    permitted = [one for one in fresh if permits(one[0])]
    wanted = [one for one in permitted if not expired(one[0])]
    # A kill between the two leaves what the next linking completes.
    recorded = log.append_all(wanted, linked=True)
    added = suppressions.add(instructions)
    new = sum(1 for _, is_new in recorded if is_new)
    return Linked(
        device_id=sender,
        events=len(events),
        new=new,
        known=len(returned) + len(wanted) - new,
        not_permitted=len(fresh) - len(permitted),
        expired=len(permitted) - len(wanted),
        instructions=added,
    )


def _own_id(device_id: str, sequence: int) -> str:
    """Name an event that was recorded before ids were kept; its sequence is never given again."""
    return f"{device_id}/{sequence}"


def _read(content: bytes) -> tuple[str, list[tuple[Event, str]], Suppressed]:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(content, MAX_CONTENT_BYTES)
        if not unpacker.eof:
            raise ExportRefused(f"expected at most {MAX_CONTENT_BYTES} bytes of content")
        document = json.loads(text)
        if document["type"] != _TYPE:
            raise ValueError
        events = [_event(str(event_id), str(record)) for event_id, record in document["events"]]
        named = (frozenset(map(str, document[n])) for n in _INSTRUCTIONS)
        return str(document["device_id"]), events, Suppressed(*named)
    except (zlib.error, ValueError, KeyError, TypeError, RecursionError, StoreDamaged):
        raise ExportRefused("the export's content is of another version or malformed") from None


def _event(event_id: str, record: str) -> tuple[Event, str]:
    """Read one event as strictly as an app's own is read.

    Raises:
        ValueError: if it could not have been recorded.
    """
    data = record.encode()
    event = Event.from_bytes(data)
    fields = cast("tuple[Any, ...]", (event.name, event.signal, event.recorded_at_ms, event.value))
    name, signal, at_ms, value = fields
    try:
        known = signal_of_event(name)
    except BadDocument:
        raise ValueError("unknown event") from None
    usable = (
        known.name == signal
        and known.sensitivity is not Sensitivity.PROHIBITED
        and type(at_ms) is int
        and 0 <= at_ms < END_OF_TIME_MS
        and (value is None or (type(value) in (int, float) and math.isfinite(value)))
        and all(
            isinstance(item, str) and item and is_text(item)
            for item in cast("tuple[Any, ...]", event.items)
        )
        and isinstance(cast(Any, event.properties), Mapping)
        and 0 < len(event_id) <= MAX_EVENT_ID
        and len(data) <= MAX_EVENT_BYTES + 6 * MAX_EVENT_ID
    )
    if not usable:
        raise ValueError("unusable event")
    return event, event_id
