"""Epsilon of composed events, remembered, and ready before the first reservation asks."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from tacit.privacy.accounting import (
    EpsilonClaim,
    GaussianEvent,
    epsilon,
    epsilon_bound,
    epsilon_lower,
    round_up,
)
from tacit.privacy.accounting_claim import round_down

SAME_EPSILON = 1.5e-6
"""Claims are rounded up to six decimals; two computations may differ by one in the last place."""

CONFIRMED_EVERY = 1 / 16
"""How far a composition may lie from one that the libraries confirmed, in its Σ count / z²."""

_REMEMBERED = 20_000
_Key = tuple[frozenset[tuple[GaussianEvent, int]], float]
_Group = tuple[float, frozenset[str]]


class Accountant:
    """Compose events by `tacit.privacy.accounting.epsilon` and remember the answers.

    The libraries that confirm each figure take seconds to import; `warm` does that in the
    background, and the first claim waits for it. Thread-safe.
    """

    def __init__(
        self,
        compose: Callable[[Sequence[GaussianEvent], float], EpsilonClaim] = epsilon,
        bound: Callable[[Sequence[GaussianEvent], float], float] = epsilon_bound,
    ) -> None:
        """Choose the accountant.

        Args:
            compose: what claims come from.
            bound: the same figure, not rounded, without the libraries that confirm it.
        """
        self._compose = compose
        self._bound = bound
        self._lock = threading.Lock()
        self._claims: dict[_Key, EpsilonClaim] = {}
        self._running: dict[_Key, EpsilonClaim] = {}
        # (delta, trust levels) → (Σ count / z², claim) that the libraries confirmed, in order.
        self._confirmed: dict[_Group, list[tuple[float, EpsilonClaim]]] = {}

    def warm(self) -> None:
        """Import the accountants in a background thread."""
        threading.Thread(target=self.wait_until_ready, name="accountant", daemon=True).start()

    def wait_until_ready(self) -> None:
        """Return once claims take milliseconds; call it before taking a lock others wait for."""
        self.claim((GaussianEvent(1.0),), 1e-5)

    def claim(self, events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
        """Return the claim for a composition; events that differ in count alone count together."""
        counts = _counted(events)
        key = frozenset(counts.items()), target_delta
        with self._lock:
            found = self._claims.get(key)
            if found is None:
                found = self._compose(_merged(counts), target_delta)
                _remember(self._claims, key, found)
        return found

    def running_claim(self, events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
        """Return the claim for a composition that grows event by event, in under a millisecond.

        Its ε is the figure of `claim`, digit for digit. The libraries, which take tens of
        milliseconds, are asked whenever Σ count / z² has moved by more than `CONFIRMED_EVERY` from
        any composition they confirmed; in between the cross-checks are those of the nearest one.
        Tasks, releases and the offline verification have every figure confirmed by itself.
        """
        counts = _counted(events)
        key = frozenset(counts.items()), target_delta
        size = math.fsum(count / one.noise_multiplier**2 for one, count in counts.items())
        # What a claim says beside its figure depends on the levels of its events.
        group = target_delta, frozenset(one.trust_level for one in counts)
        with self._lock:
            found = self._claims.get(key) or self._running.get(key)
            if found is not None:
                return found
            merged = _merged(counts)
            nearest = self._nearest(size, group)
            if nearest is None:
                found = self._compose(merged, target_delta)
                known = self._confirmed.setdefault(group, [])
                known.insert(bisect_left(known, size, key=lambda one: one[0]), (size, found))
                _remember(self._claims, key, found)
            else:
                found = replace(
                    nearest,
                    epsilon=round_up(self._bound(merged, target_delta)),
                    epsilon_lower=round_down(epsilon_lower(merged, target_delta)),
                )
                # Apart from the claims, which have cross-checks of their own.
                _remember(self._running, key, found)
            return found

    def _nearest(self, size: float, group: _Group) -> EpsilonClaim | None:
        known = self._confirmed.get(group, [])
        place = bisect_left(known, size, key=lambda one: one[0])
        for other, claim in known[max(0, place - 1) : place + 1]:
            if abs(size - other) <= CONFIRMED_EVERY * other:
                return claim
        return None


def same_epsilon(first: float, second: float) -> bool:
    """Say whether two figures are the same claim, computed by libraries of two machines."""
    return abs(first - second) <= SAME_EPSILON


def grouped(events: Sequence[GaussianEvent]) -> tuple[GaussianEvent, ...]:
    """Return events that compose to the same, those that differ in count alone counted together."""
    return tuple(_merged(_counted(events)))


def _remember(claims: dict[_Key, EpsilonClaim], key: _Key, claim: EpsilonClaim) -> None:
    if len(claims) >= _REMEMBERED:
        claims.pop(next(iter(claims)))  # the oldest
    claims[key] = claim


def _counted(events: Sequence[GaussianEvent]) -> Counter[GaussianEvent]:
    counts = Counter[GaussianEvent]()
    for event in events:
        counts[replace(event, count=1)] += event.count
    return counts


def _merged(counts: Counter[GaussianEvent]) -> list[GaussianEvent]:
    ordered = sorted(counts.items(), key=lambda one: repr(one[0]))
    return [replace(event, count=count) for event, count in ordered]
