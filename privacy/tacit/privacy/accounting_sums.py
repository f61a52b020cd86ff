"""The sums that composed Gaussian releases are accounted by, exact as releases come and go.

Full-participation Gaussian releases compose by ``sum 1/z^2`` alone (`accounting_closed_form` has
the theorem, and the terms that the lattice adds). The sums here are correctly rounded, as
`math.fsum` rounds, whatever was added and taken away in between; so a composition that is followed
release by release has the figure that composing all of it again would give, digit for digit, at a
cost that does not grow with their number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tacit.privacy.errors import BadParameter
from tacit.privacy.gaussian_event import MIN_SENSITIVITY, GaussianEvent

RADIUS = 2.0
"""The r of `accounting_closed_form`."""
LATTICE = (RADIUS / MIN_SENSITIVITY) ** 2
"""What the lattice takes from ``z^2``: (r / L)^2 at the smallest L a plan may have."""

_SCALE = 1100  # bits after the point: every float is a whole number of 2^-1074
_ONE = 1 << _SCALE


@dataclass(frozen=True, slots=True)
class GaussianSums:
    """All of a composition that its epsilon depends on.

    Attributes:
        releases: Their number.
        inverse_squares: ``sum 1/z^2``.
        upper_mu_squared: ``sum 1/(z^2 - LATTICE)``; infinite where some z is too small for it.
        lower_mu_squared: ``sum 1/(z^2 + LATTICE)``.
        lower_eta: What the lattice takes from the lower bound; infinite where some noise is too
            small to claim one.
    """

    releases: int
    inverse_squares: float
    upper_mu_squared: float
    lower_mu_squared: float
    lower_eta: float

    @classmethod
    def of(cls, events: Iterable[GaussianEvent]) -> GaussianSums:
        """Return the sums of these events."""
        terms = [_terms(event.noise_multiplier, event.count) for event in events]
        columns = list(zip(*terms, strict=True)) or [()] * 5
        return cls(int(sum(columns[0])), *(math.fsum(column) for column in columns[1:]))


class RunningComposition:
    """Events that compose, equal ones counted together; add and remove take constant time."""

    def __init__(self, events: Iterable[GaussianEvent] = ()) -> None:
        """Start from some events."""
        self._counts = Counter[GaussianEvent]()  # by event with count 1
        self._levels = Counter[str]()
        self._releases = 0
        self._finite = [0, 0, 0, 0]
        self._infinite = [0, 0, 0, 0]
        self._sums: GaussianSums | None = None
        for event in events:
            self.add(event)

    def add(self, event: GaussianEvent) -> None:
        """Count an event, as often as its own count says."""
        self._move(event, event.count)

    def remove(self, event: GaussianEvent) -> None:
        """Take an event away that was added before.

        Raises:
            BadParameter: It was not, or not so often.
        """
        self._move(event, -event.count)

    @property
    def sums(self) -> GaussianSums:
        """What its epsilon depends on."""
        if self._sums is None:
            sums = (
                math.inf if infinite else finite / _ONE  # rounded once, correctly
                for finite, infinite in zip(self._finite, self._infinite, strict=True)
            )
            self._sums = GaussianSums(self._releases, *sums)
        return self._sums

    @property
    def trust_levels(self) -> frozenset[str]:
        """Levels of the events in it."""
        return frozenset(self._levels)

    def events(self) -> tuple[GaussianEvent, ...]:
        """Return what is in it, equal events counted together, in an order of their own."""
        ordered = sorted(self._counts.items(), key=lambda one: repr(one[0]))
        return tuple(replace(event, count=count) for event, count in ordered)

    def _move(self, event: GaussianEvent, by: int) -> None:
        kind = replace(event, count=1)
        before = self._counts[kind]
        after = before + by
        if after < 0:
            raise BadParameter(f"composition: expected at least {-by} of this event, got {before}")
        for count, sign in ((before, -1), (after, 1)):
            if not count:
                continue
            releases, *terms = _terms(kind.noise_multiplier, count)
            self._releases += sign * releases
            self._levels[kind.trust_level] += sign
            for place, term in enumerate(terms):
                if term == math.inf:
                    self._infinite[place] += sign
                else:
                    self._finite[place] += sign * _scaled(term)
        if after:
            self._counts[kind] = after
        else:
            del self._counts[kind]
        if not self._levels[kind.trust_level]:
            del self._levels[kind.trust_level]
        self._sums = None


def theta(radius: float) -> float:
    """Return at least ``2 sum_k exp(-2 pi^2 r^2 k^2)``, for r >= 1: later terms are below 1e-25."""
    return 2.001 * math.exp(-2.0 * math.pi**2 * radius**2)


def _terms(z: float, count: int) -> tuple[int, float, float, float, float]:
    square = z**2
    sigma = z * MIN_SENSITIVITY
    radius = sigma * RADIUS / math.hypot(sigma, RADIUS)
    return (
        count,
        count / square,
        count / (square - LATTICE) if square > LATTICE else math.inf,
        count / (square + LATTICE),
        3.0 * count * theta(radius) if radius >= 1.0 else math.inf,  # theta is no longer small
    )


def _scaled(term: float) -> int:
    numerator, denominator = term.as_integer_ratio()
    return numerator << (_SCALE - (denominator.bit_length() - 1))
