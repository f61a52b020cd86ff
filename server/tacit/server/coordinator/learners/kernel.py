"""What is known of tastes before any profile is read: a kernel over items from public facts.

A taste for a property of items (a category, an era, a word of the title, being popular) raises the
consumption of the items that have it. Properties are memberships: columns of numbers from 0 to 1.
If users' tastes for the properties are independent with variances `b_j^2`, profiles vary with
covariance `D D^T`, `D = centred(w * pi * membership) diag(b)`: a Gaussian-process prior on taste
(Rasmussen and Williams 2006, section 2.2). Its leading eigenvectors are the directions the Gram
round measures, and its eigenvalues say what to expect there before anything is measured.

Four kinds of properties are used, each with the prior weight `b` below:

- public features as given, and soft bins of log-popularity, which is public after the first round;
- products of pairs of these: a taste for recent comedies, for unpopular classics;
- each popular item itself. Without public features this alone carries the learner.

An earlier release knows better: its tastes join the kernel as its strongest part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.earlier import EarlierRelease
from tacit.server.coordinator.learners.errors import BadPlan
from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.protocol import FloatArray

_POPULARITY_BINS = 6
_MOST_CROSSED = 48
_MOST_PRODUCTS = 400
_LIGHTEST_PRODUCT = 8.0  # items' worth of membership
_MINOR = 0.3  # prior weight of products, of light features and of single items
_RANK_TOLERANCE = 1e-4
_EARLIER = 1.5  # scale of an earlier release's tastes relative to what the catalogue suggests


@dataclass(frozen=True, slots=True)
class TasteKernel:
    """Hold the leading eigenpairs of the prior covariance of tastes.

    Attributes:
        directions: `(n_items, q)` orthonormal, in the learner's coordinates, mean profile removed.
        variances: `(q,)` prior variances relative to the strongest, in (0, 1], not increasing.
    """

    directions: FloatArray
    variances: FloatArray

    @classmethod
    def of(
        cls,
        geometry: Geometry,
        features: FloatArray | None,
        width: int,
        earlier: EarlierRelease | None = None,
    ) -> TasteKernel:
        """Build the kernel of a catalogue.

        Args:
            geometry: coordinates, hence popularity.
            features: `(n_items, f)` public memberships, or `None`.
            width: largest number of directions, at least 1.
            earlier: a release to start from, or `None`.

        Returns:
            Fewer than `width` directions where the catalogue has no more.
        """
        columns = geometry.taste_directions(_memberships(geometry.distribution, features))
        popular = np.argsort(-geometry.distribution, kind="stable")[: 2 * width]
        single = np.zeros((len(geometry.distribution), len(popular)))
        single[popular, np.arange(len(popular))] = _MINOR
        parts = [columns, geometry.taste_directions(single)]
        if earlier is not None and earlier.tastes.size:
            known = geometry.centred_rows(geometry.weights[:, np.newaxis] * earlier.tastes)
            strongest = float(np.linalg.norm(columns, ord=2)) / float(np.linalg.norm(known, ord=2))
            parts.append(_EARLIER * strongest * known)
        whole = np.hstack(parts)
        values, axes = np.linalg.eigh(whole.T @ whole)
        values, axes = values[::-1][:width], axes[:, ::-1][:, :width]
        kept = values > _RANK_TOLERANCE**2 * values[0]
        directions = whole @ (axes[:, kept] / np.sqrt(values[kept]))
        return cls(directions, values[kept] / values[0])

    def leading(self, width: int) -> TasteKernel:
        """Keep the strongest `width` directions, or all if there are fewer."""
        return TasteKernel(self.directions[:, :width], self.variances[:width])


def checked_features(features: FloatArray, n_items: int) -> FloatArray:
    """Check public item features and return them as float64.

    Raises:
        BadPlan: they are not `(n_items, f)` with f at least 1, or not finite.
    """
    if features.ndim != 2 or features.shape[0] != n_items or features.shape[1] < 1:
        raise BadPlan(f"expected features of shape ({n_items}, f), got {features.shape}")
    if not bool(np.all(np.isfinite(features))):
        raise BadPlan("expected finite item features")
    return features.astype(np.float64)


def _memberships(distribution: FloatArray, features: FloatArray | None) -> FloatArray:
    """Weigh all properties but single items, `(n_items, p)`."""
    bins = popularity_bins(distribution)
    if features is None:
        return bins
    mass = np.abs(features).sum(axis=0)
    by_mass: npt.NDArray[np.intp] = np.argsort(-mass, kind="stable")
    heavy, light = features[:, by_mass[:_MOST_CROSSED]], features[:, by_mass[_MOST_CROSSED:]]
    major = np.hstack([heavy, bins])
    return np.hstack([major, _MINOR * _products(major), _MINOR * light])


def _products(columns: FloatArray) -> FloatArray:
    """Multiply all pairs of columns and keep the heaviest products."""
    first, second = np.triu_indices(columns.shape[1], k=1)
    overlap = (columns.T @ columns)[first, second]
    heaviest = np.argsort(-overlap, kind="stable")[:_MOST_PRODUCTS]
    kept: npt.NDArray[np.intp] = heaviest[overlap[heaviest] >= _LIGHTEST_PRODUCT]
    return columns[:, first[kept]] * columns[:, second[kept]]


def popularity_bins(distribution: FloatArray) -> FloatArray:
    """Spread items over soft bins of log-popularity that hold equal shares of consumption.

    Returns:
        `(n_items, b)` linear B-splines, b at most 6; every row sums to 1.
    """
    logs = np.log(distribution)
    order = np.argsort(logs, kind="stable")
    shares = np.cumsum(distribution[order])
    knots = np.interp(np.linspace(0.0, 1.0, _POPULARITY_BINS), shares, logs[order])
    return soft_bins(logs, np.unique(np.append(knots, logs.min())))


def soft_bins(values: FloatArray, knots: FloatArray) -> FloatArray:
    """Evaluate linear B-splines (hat functions), `(n, len(knots))`; every row sums to 1.

    Args:
        values: `(n,)`; what lies outside the knots counts as the nearest knot.
        knots: increasing, at least one.
    """
    if len(knots) == 1:
        return np.ones((len(values), 1))
    inside = np.clip(values, knots[0], knots[-1])
    left = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
    share = (inside - knots[left]) / (knots[left + 1] - knots[left])
    hats = np.zeros((len(values), len(knots)))
    hats[np.arange(len(values)), left] = 1.0 - share
    hats[np.arange(len(values)), left + 1] += share
    return hats
