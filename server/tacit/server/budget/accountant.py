"""Epsilon of composed events, remembered, and ready before the first reservation asks."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tacit.privacy.accounting import (
    EpsilonClaim,
    GaussianEvent,
    GaussianSums,
    RunningComposition,
    epsilon,
    epsilon_bound_of_sums,
    lower_of_sums,
    round_up,
)
from tacit.privacy.accounting_claim import round_down
from tacit.privacy.errors import AccountantsDisagree

SAME_EPSILON = 1.5e-6
"""Claims are rounded up to six decimals; two computations may differ by one in the last place."""

CONFIRMED_EVERY = 1 / 16
"""How far a composition may lie from one that the libraries confirmed, in its Σ count / z²."""
CONFIRMED_IN_REPLAY = 1.0
"""The same while a whole log is replayed, at the end of which they confirm what it came to."""

_REMEMBERED = 20_000
_Key = tuple[frozenset[tuple[GaussianEvent, int]], float]
_Group = tuple[float, frozenset[str]]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Accountant:
    """Compose events by `tacit.privacy.accounting.epsilon` and remember the answers.

    The libraries that confirm each figure take seconds to import; `warm` does that in the
    background, and the first claim waits for it. Thread-safe.
    """

    def __init__(
        self,
        compose: Callable[[Sequence[GaussianEvent], float], EpsilonClaim] = epsilon,
        confirmed_every: float = CONFIRMED_EVERY,
    ) -> None:
        """Choose the accountant.

        Args:
            compose: what claims come from.
            confirmed_every: how far a running claim may lie from one that `compose` gave, in its
                Σ count / z².
        """
        self._compose = compose
        self._confirmed_every = confirmed_every
        self._lock = threading.Lock()
        self._claims: dict[_Key, EpsilonClaim] = {}
        self._running: dict[tuple[GaussianSums, _Group], EpsilonClaim] = {}
        self._figures: dict[tuple[GaussianSums, float], float] = {}
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
        """Return `running` of these events."""
        return self.running(RunningComposition(events), target_delta)

    def running(self, composition: RunningComposition, target_delta: float) -> EpsilonClaim:
        """Return the claim for a composition that grows event by event, in under a millisecond.

        Its ε is the figure of `claim`, digit for digit, from the certified closed form. The
        libraries, which take tens of milliseconds, are asked whenever Σ count / z² has moved by
        more than `confirmed_every` from any composition they confirmed; in between the
        cross-checks are those of the nearest one, and the figure has to lie on the right side of
        them: more releases never cost less. Tasks, releases and what accounts stand at in the end
        have every figure confirmed by itself.

        Raises:
            AccountantsDisagree: A library contradicts the figure.
        """
        # What a claim says beside its figure depends on the levels of its events.
        key = composition.sums, (target_delta, composition.trust_levels)
        with self._lock:
            found = self._running.get(key)
            if found is None:
                near = self._confirmed_near(composition, target_delta)
                figure = self._figure(composition.sums, target_delta)
                lower = round_down(lower_of_sums(composition.sums, target_delta))
                found = replace(near, epsilon=figure, epsilon_lower=lower)
                # Apart from the claims, which have cross-checks of their own.
                _remember(self._running, key, found)
        return found

    def running_epsilon(self, composition: RunningComposition, target_delta: float) -> float:
        """Return the ε of `running` alone, held against the libraries alike, in half the time.

        Raises:
            AccountantsDisagree: A library contradicts the figure.
        """
        with self._lock:
            self._confirmed_near(composition, target_delta)
            return self._figure(composition.sums, target_delta)

    def figure(self, sums: GaussianSums, target_delta: float) -> float:
        """Return the ε of a composition that was claimed before, known by its sums alone.

        It is that claim's, digit for digit, and at another delta what the claim would be.
        """
        with self._lock:
            return self._figure(sums, target_delta)

    def _figure(self, sums: GaussianSums, target_delta: float) -> float:
        known = self._figures.get((sums, target_delta))
        if known is None:
            known = round_up(epsilon_bound_of_sums(sums, target_delta))
            _remember(self._figures, (sums, target_delta), known)
        return known

    def _confirmed_near(self, composition: RunningComposition, target_delta: float) -> EpsilonClaim:
        """Return the claim that the libraries confirmed nearest to a composition.

        Where nothing is near enough, that is the composition's own.

        Raises:
            AccountantsDisagree: They contradict it, or it lies on the wrong side of the nearest.
        """
        sums, group = composition.sums, (target_delta, composition.trust_levels)
        size = sums.inverse_squares
        nearest = self._nearest(size, group)
        if nearest is None:
            claim = self._compose(composition.events(), target_delta)
            known = self._confirmed.setdefault(group, [])
            known.insert(bisect_left(known, size, key=lambda one: one[0]), (size, claim))
            return claim
        other, claim = nearest
        _require_in_order(sums, self._figure(sums, target_delta), target_delta, other, claim)
        return claim

    def _nearest(self, size: float, group: _Group) -> tuple[float, EpsilonClaim] | None:
        known = self._confirmed.get(group, [])
        place = bisect_left(known, size, key=lambda one: one[0])
        for other, claim in known[max(0, place - 1) : place + 1]:
            if abs(size - other) <= self._confirmed_every * other:
                return other, claim
        return None


def _require_in_order(
    sums: GaussianSums, figure: float, target_delta: float, other: float, confirmed: EpsilonClaim
) -> None:
    """Raise unless a figure lies where one that the libraries confirmed nearby allows it.

    Args:
        sums: Of the composition at hand.
        figure: Its ε.
        target_delta: delta of that ε.
        other: Σ count / z² of the composition that was confirmed.
        confirmed: Its claim.

    Raises:
        AccountantsDisagree: It does not: ε never falls where Σ count / z² grows.
    """
    for check in confirmed.cross_checks:
        if sums.inverse_squares >= other:
            fits = figure >= check.epsilon_lower
        else:
            fits = lower_of_sums(sums, target_delta) <= check.epsilon
        if not fits:
            raise AccountantsDisagree(
                f"accountants disagree: the claim is epsilon {figure!r} for "
                f"{sums.inverse_squares!r} in all of 1/z^2, {check.accountant} "
                f"{check.accountant_version} gives {check.epsilon!r} (at least "
                f"{check.epsilon_lower!r}) for {other!r}"
            )


def same_epsilon(first: float, second: float) -> bool:
    """Say whether two figures are the same claim, computed by libraries of two machines."""
    return abs(first - second) <= SAME_EPSILON


def _remember(claims: dict[_K, _V], key: _K, claim: _V) -> None:
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
