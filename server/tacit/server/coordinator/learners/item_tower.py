"""The item tower: factors that public content explains, plus what is free in each item.

An item's factor is `content coordinates + free part`. The kernel of public facts (`kernel`) gives
the start, and every noised step is split into what it explains, few coordinates that stand far
above the noise, and the rest, which is shrunk by item popularity (`sketches.shrink_rows`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.server.coordinator.learners.factorization_rules import RIDGE, UNSEEN_WEIGHT
from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.kernel import TasteKernel
from tacit.server.coordinator.learners.protocol import FloatArray

_LARGEST_RATE = 0.95
_WEIGHT_EXPONENT = 0.2
_MAGNIFICATION = 0.5
_WEAKEST = 0.02
_SHRUNK_GAIN = 2.0  # a noised covariance has been shrunk; its directions deserve more than is left
_RANDOM_STRENGTH = 0.05  # of a profile's norm, in a direction nothing is known about
_START_SEED = 20080615  # of the public random start; no protection rests on it


@dataclass(frozen=True, slots=True)
class ItemTower:
    """Hold what is public about items before any gradient.

    Attributes:
        geometry: the coordinates of the Gram round.
        content: directions that public facts can express.
        rates: `(n_items,)` estimated share of users who have each item, above zero.
        typical: a typical profile's total weight.
    """

    geometry: Geometry
    content: TasteKernel
    rates: FloatArray
    typical: float

    @classmethod
    def of(cls, geometry: Geometry, content: TasteKernel, typical: float) -> ItemTower:
        """Derive the share of users per item from the item distribution."""
        rates = np.minimum(geometry.distribution * typical, _LARGEST_RATE)
        return cls(geometry, content, rates, typical)

    @property
    def popularity_column(self) -> FloatArray:
        """Give the least-squares prediction for everyone alike, `r / (r + a)`, `(n_items,)`."""
        return self.rates / (self.rates + UNSEEN_WEIGHT)

    @property
    def item_weights(self) -> FloatArray:
        """Give the scale of each item's row in a contribution, `r^-0.2`, mean square 1.

        Popular items have most of the signal and all of the norm; this evens them out a little.
        """
        weights = self.rates**-_WEIGHT_EXPONENT
        weights /= np.sqrt(np.sum(weights**2 * self.rates) / np.sum(self.rates))
        return _as_sent(weights)

    def start(
        self, covariance: FloatArray | None, cohort: int, width: int, *, exact: bool
    ) -> FloatArray:
        """Compute the first factors, `(n_items, width)`, by columns of falling strength.

        The covariance of tastes gives the directions that content explains and their variance;
        least squares on "1 for what a user has, else 0" then moves item `i` by `a / (r_i + a)^2`
        for a change of its rate. Columns that content leaves over start in public pseudo-random
        directions.

        Args:
            covariance: `(q, q)` of tastes on `content`, summed over the cohort (`taste_gram`), or
                `None` before the Gram round.
            cohort: public expected number of users.
            width: factors to start.
            exact: whether the Gram round had no noise, so that nothing was shrunk.
        """
        directions, strengths = np.zeros((len(self.rates), 0)), np.zeros(0)
        if covariance is not None and bool(np.any(covariance)):
            values, axes = np.linalg.eigh(covariance)
            values, axes = values[::-1][:width], axes[:, ::-1][:, :width]
            strengths = np.maximum(values, _WEAKEST * max(float(values[0]), 0.0)) / cohort
            directions = self.content.directions @ axes
        missing = width - directions.shape[1]
        if missing > 0:
            fresh = _random_directions(self.geometry, missing)
            fresh = fresh - directions @ (directions.T @ fresh)
            directions = np.hstack([directions, fresh])
            weakest = float(strengths[-1]) if len(strengths) else _RANDOM_STRENGTH / width
            strengths = np.concatenate([strengths, np.full(missing, weakest)])
        slope = UNSEEN_WEIGHT / (self.rates + UNSEEN_WEIGHT) ** 2 / self.geometry.weights
        gain = 1.0 if exact else _SHRUNK_GAIN
        scale = gain * np.sqrt(strengths * self.typical)
        return slope[:, np.newaxis] * directions * scale

    def factors(self, trained: FloatArray) -> FloatArray:
        """Put the popularity column before the trained ones, as devices receive them."""
        return _as_sent(np.hstack([self.popularity_column[:, np.newaxis], trained]))


def factor_weights(trained: FloatArray) -> FloatArray:
    """Choose the scale of each factor in a contribution, `(k,)`, at least 1.

    Weak factors are magnified by the square root of their size, so that a contribution of bounded
    norm is not spent on the strong ones alone, which stand far above the noise anyway.
    """
    sizes = np.linalg.norm(trained, axis=0)
    largest = float(np.max(sizes))
    if largest == 0.0:
        return np.ones(len(sizes))
    return _as_sent(np.maximum(sizes / largest, _WEAKEST) ** -_MAGNIFICATION)


def gramian(factors: FloatArray) -> FloatArray:
    """Compute the part of every device's normal matrix that is the same, `a Z^T Z + l I`."""
    return _as_sent(UNSEEN_WEIGHT * (factors.T @ factors) + RIDGE * np.eye(factors.shape[1]))


def _as_sent(values: FloatArray) -> FloatArray:
    """Round to the float32 devices receive, so that both sides use the same numbers."""
    return values.astype(np.float32).astype(np.float64)


def _random_directions(geometry: Geometry, count: int) -> FloatArray:
    """Return `(n_items, count)` centred unit columns from public random signs."""
    n_items = len(geometry.weights)
    # random_raw is the one stream numpy promises never to change between versions.
    raw = np.asarray(np.random.PCG64(_START_SEED).random_raw(n_items * count), dtype=np.uint64)
    signs = np.where(raw >> np.uint64(63), 1.0, -1.0).reshape(n_items, count)
    spread = geometry.weights * np.sqrt(geometry.distribution)
    columns = geometry.centred_rows(spread[:, np.newaxis] * signs)
    lengths = np.maximum(np.linalg.norm(columns, axis=0), 1e-12)
    return np.asarray(columns / lengths, dtype=np.float64)
