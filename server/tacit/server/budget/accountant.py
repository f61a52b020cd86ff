"""Epsilon of composed events, remembered, and ready before the first reservation asks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from tacit.privacy.accounting import EpsilonClaim, GaussianEvent, epsilon

SAME_EPSILON = 1.5e-6
"""Claims are rounded up to six decimals; two computations may differ by one in the last place."""


class Accountant:
    """Compose events by `tacit.privacy.accounting.epsilon` and remember the answers.

    The libraries that confirm each figure take seconds to import; `warm` does that in the
    background, and the first claim waits for it. Thread-safe.
    """

    def __init__(
        self, compose: Callable[[Sequence[GaussianEvent], float], EpsilonClaim] = epsilon
    ) -> None:
        self._compose = compose
        self._lock = threading.Lock()
        self._claims: dict[tuple[frozenset[tuple[GaussianEvent, int]], float], EpsilonClaim] = {}

    def warm(self) -> None:
        """Import the accountants in a background thread."""
        threading.Thread(target=self.wait_until_ready, name="accountant", daemon=True).start()

    def wait_until_ready(self) -> None:
        """Return once claims take milliseconds; call it before taking a lock others wait for."""
        self.claim((GaussianEvent(1.0),), 1e-5)

    def claim(self, events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
        """Return the claim for a composition; events that differ in count alone count together."""
        counts = Counter[GaussianEvent]()
        for event in events:
            counts[replace(event, count=1)] += event.count
        key = frozenset(counts.items()), target_delta
        with self._lock:
            found = self._claims.get(key)
            if found is None:
                merged = [
                    replace(event, count=count)
                    for event, count in sorted(counts.items(), key=lambda one: repr(one[0]))
                ]
                found = self._claims[key] = self._compose(merged, target_delta)
        return found


def same_epsilon(first: float, second: float) -> bool:
    """Say whether two figures are the same claim, computed by libraries of two machines."""
    return abs(first - second) <= SAME_EPSILON
