"""Timelines: from the sealed log to the history that a statistic about behaviour may see.

As with profiles, consent is applied while rows are read: an event of a signal that the person did
not permit is never decrypted.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tacit.client.events import Event, EventLog
from tacit.client.statistics import (
    HISTORY_SIGNALS,
    NO_ACTION,
    Events,
    Histories,
    build_histories,
)

ACTION, PROPENSITY = "action", "propensity"
"""Properties by which an event says what was chosen for the person, and how probable that was."""

_NO_CHOICE = (NO_ACTION, 1.0)


def permitted_history(
    log: EventLog,
    permitted: Collection[str],
    asked: Collection[str],
    *,
    through: int | None = None,
    linked: bool = False,
) -> Histories:
    """Build the one-user history that a task's statistic runs on.

    Guarantee: the result is the same, bit for bit, as if every event outside `permitted ∩ asked`
    had never been recorded.

    Args:
        log: the event log.
        permitted: signals the person granted for the purpose.
        asked: signals of the signed manifest; those that no history holds are left out.
        through: newest event to read; None for all.
        linked: also what other devices of the person recorded; never for a contribution.
    """
    signals = set(permitted) & set(asked) & set(HISTORY_SIGNALS)
    events = [logged.event for logged in log.read(signals, through=through, linked=linked)]
    choices = [_choice(event) for event in events]
    place = {name: index for index, name in enumerate(HISTORY_SIGNALS)}
    return build_histories(
        Events(
            users=np.zeros(len(events), dtype=np.int64),
            times_ms=np.array([event.recorded_at_ms for event in events], dtype=np.int64),
            signals=np.array([place[event.signal] for event in events], dtype=np.int64),
            values=np.array([event.value or 0.0 for event in events], dtype=np.float64),
            actions=np.array([action for action, _ in choices], dtype=np.int64),
            propensities=np.array([chance for _, chance in choices], dtype=np.float64),
        ),
        np.array([[name in signals for name in HISTORY_SIGNALS]]),
    )


def _choice(event: Event) -> tuple[int, float]:
    """Read the action of an event; one that does not make sense counts as none."""
    action, chance = event.properties.get(ACTION), event.properties.get(PROPENSITY)
    if not isinstance(action, int) or isinstance(action, bool) or not 0 <= action < 2**31:
        return _NO_CHOICE
    if not isinstance(chance, int | float) or isinstance(chance, bool) or not 0.0 < chance <= 1.0:
        return _NO_CHOICE
    return action, float(chance)
