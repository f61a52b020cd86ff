"""Retention: how long events of each signal are kept, enforced when a profile opens and once a day.

Times are sealed with everything else, so finding what is too old means opening records. A sweep
opens only what came since the last one, and every record of a signal only when its oldest is due.
It looks at times alone, whatever the consents: to delete is no use of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tacit.client.errors import BadEvent
from tacit.client.events import EventLog
from tacit.client.facts import Facts
from tacit.privacy.canonical import Fields, canonical_json, parse_canonical
from tacit.privacy.signals import SIGNALS, Sensitivity

DAY_MS = 86_400_000
_FACT = "retention"

DEFAULT_RETENTION_DAYS: Mapping[str, int] = MappingProxyType(
    {
        "page_view": 90,
        "dwell": 180,
        "scroll": 90,
        "search": 180,
        "product_view": 365,
        "add_to_cart": 365,
        "purchase": 1095,
        "rating": 1095,
        "preference": 1095,
        "time_of_day": 90,
        "device_class": 365,
        "coarse_location": 90,
        "precise_location": 7,
        "age_band": 365,
    }
)
"""Signal → days its events are kept, unless `DevicePolicy.retention_days` says otherwise."""


def retention_days(stated: Mapping[str, int]) -> Mapping[str, int]:
    """Return signal → days for every signal that can be recorded.

    Args:
        stated: what the app wants otherwise than `DEFAULT_RETENTION_DAYS`.

    Raises:
        BadEvent: if a signal is unknown or prohibited, or its days are no whole number from 1.
    """
    for name, days in stated.items():
        found = SIGNALS.get(name)
        if found is None or found.sensitivity is Sensitivity.PROHIBITED:
            raise BadEvent("retention_days: expected signals of the catalogue that may be recorded")
        if isinstance(days, bool) or not isinstance(days, int) or days < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadEvent(f"retention_days: {name}: expected a whole number of days from 1")
    return MappingProxyType({**DEFAULT_RETENTION_DAYS, **stated})


class Retention:
    """Delete what is too old from one log."""

    def __init__(self, events: EventLog, facts: Facts, days: Mapping[str, int]) -> None:
        self._events = events
        self._facts = facts
        self.days = days
        self._swept_at_ms: int | None = None

    def due(self, now_ms: int) -> bool:
        """Tell whether a day has passed since the last sweep, or the clock was set back."""
        swept = self._swept_at_ms
        return swept is None or not 0 <= now_ms - swept < DAY_MS

    def expired(self, signal: str, recorded_at_ms: int, now_ms: int) -> bool:
        """Tell whether an event of a signal is too old to be kept."""
        return recorded_at_ms <= now_ms - self.days[signal] * DAY_MS

    def sweep(self, now_ms: int) -> int:
        """Delete every event that is too old; on the disk when this returns.

        A clock that was set back deletes nothing.

        Returns:
            How many events were deleted; the caller cuts the write-ahead log if any were.
        """
        self._swept_at_ms = now_ms
        through, oldest_ms = self._remembered()
        last = self._events.last_sequence()
        for logged in self._events.read(SIGNALS, after=through, through=last, linked=True):
            signal, at_ms = logged.event.signal, logged.event.recorded_at_ms
            oldest_ms[signal] = min(oldest_ms.get(signal, at_ms), at_ms)
        gone: list[int] = []
        for signal, at_ms in list(oldest_ms.items()):
            if self.expired(signal, at_ms, now_ms):
                held = self._events.read([signal], linked=True)
                times = {e.sequence: e.event.recorded_at_ms for e in held}
                old = [seq for seq, at in times.items() if self.expired(signal, at, now_ms)]
                gone += old
                kept = [times[seq] for seq in times.keys() - set(old)]
                del oldest_ms[signal]
                if kept:
                    oldest_ms[signal] = min(kept)
        if gone:
            self._events.delete(gone)
        # A kill before this is written lets the next sweep do the same again.
        if gone or last > through:
            self._remember(last, oldest_ms)
        return len(gone)

    def _remembered(self) -> tuple[int, dict[str, int]]:
        content = self._facts.get(_FACT)
        if content is None:
            return 0, {}
        fields = Fields(parse_canonical(content), "retention")
        names, times = fields.texts("signals"), fields.texts("oldest_ms")
        return fields.integer("through", 0), dict(zip(names, map(int, times), strict=True))

    def _remember(self, through: int, oldest_ms: Mapping[str, int]) -> None:
        self._facts.put(
            _FACT,
            canonical_json(
                {
                    "through": through,
                    "signals": list(oldest_ms),
                    "oldest_ms": [str(at_ms) for at_ms in oldest_ms.values()],
                }
            ),
        )
