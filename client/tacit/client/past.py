"""The permitted past, in memory: each event is opened once, not at every decision.

Consent still decides what is read: for another set of permitted signals everything is dropped and
read again under the new one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tacit.client.events import EventLog, LoggedEvent


class PermittedPast:
    """Keep up with a log as it grows, for one set of signals at a time.

    What other devices of the person recorded is part of it: decisions read this, contributions do
    not.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._signals: frozenset[str] | None = None
        self._events: list[LoggedEvent] = []
        self._through: int = 0
        self._held: int = 0
        self.version = 0
        """Changes whenever what `events` returns may have changed."""
        self.readings = 0
        """Changes whenever it was read anew instead of continued."""

    def events(self, permitted: Collection[str]) -> Sequence[LoggedEvent]:
        """Return the events of some signals, oldest first.

        Guarantee: the same, bit for bit, as if every other event had never been recorded.
        """
        signals = frozenset(permitted)
        last, held = self._log.last_sequence(), self._log.count()
        grown = last - self._through
        # Sequences are never given twice, so a log that lost events no longer adds up.
        if signals != self._signals or held != self._held + grown:
            self._events, self._through, self._signals = [], 0, signals
            self.readings += 1
            grown = 1
        if grown:
            self._events += self._log.read(signals, after=self._through, through=last, linked=True)
            self.version += 1
        self._through, self._held = last, held
        return self._events

    def drop(self) -> None:
        """Drop everything read."""
        self._events, self._signals = [], None
        self._through = self._held = 0
        self.version += 1
        self.readings += 1
