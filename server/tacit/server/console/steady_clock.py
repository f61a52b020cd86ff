"""A clock that only goes forward, for sessions and links."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def uptime_ms() -> int:
    """Return milliseconds since the machine started, its sleep included where it is counted."""
    # CLOCK_MONOTONIC stops while a laptop sleeps, and a session would outlive the night.
    source = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(source) // 1_000_000


def system_ms() -> int:
    """Return the system's clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SteadyClock:
    """Time that began at the later of the system's clock and the last time on record.

    From there it follows the machine's uptime alone: setting the system's clock back revives no
    session or link, and setting it forward while the process runs ends none. Thread-safe.
    """

    def __init__(
        self,
        last_on_record_ms: int,
        system: Callable[[], int] = system_ms,
        uptime: Callable[[], int] = uptime_ms,
    ) -> None:
        """Start the clock.

        Args:
            last_on_record_ms: Latest time anything was recorded at before; 0 for never.
            system: The system's clock, Unix milliseconds.
            uptime: Milliseconds since some fixed moment, never going back.
        """
        self._uptime = uptime
        self._lock = threading.Lock()
        self._start_ms = max(last_on_record_ms, system()) - uptime()
        self._latest_ms = 0

    def now_ms(self) -> int:
        """Return Unix milliseconds, at least what any call before returned."""
        with self._lock:
            self._latest_ms = max(self._latest_ms, self._start_ms + self._uptime())
            return self._latest_ms
