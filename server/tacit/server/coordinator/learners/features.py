"""Public item features as directions of taste, and the share of a sketch they explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.protocol import FloatArray
from tacit.server.coordinator.learners.shrinkage import shrink_columns

_FEWEST_ITEMS_OF_A_PAIR = 15
_MOST_PAIRS = 160
_MOST_FEATURES_WITH_PAIRS = 64
_PAIR_BINS = 6
_POPULARITY_BINS = 20


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """Hold orthonormal directions that public features can express, in the learner's coordinates.

    Attributes:
        single: `(n_items, f)` directions of single features.
        pairs: `(n_items, g)` further directions of pairs of features, strongest first.
    """

    single: FloatArray
    pairs: FloatArray

    @property
    def all(self) -> FloatArray:
        """Give all directions, `(n_items, f + g)`."""
        return np.hstack([self.single, self.pairs])

    @classmethod
    def of(cls, geometry: Geometry, features: FloatArray | None, pairs: FloatArray) -> FeatureSpace:
        """Express features in the coordinates of a geometry; those that repeat others drop out."""
        n_items = len(geometry.weights)
        if features is None:
            return cls(np.zeros((n_items, 0)), np.zeros((n_items, 0)))
        single = _orthonormal(geometry.taste_directions(features), 1e-6)
        rest = geometry.taste_directions(pairs)
        return cls(single, _orthonormal(rest - single @ (single.T @ rest), 1e-3))

    def shrink(self, rows: FloatArray, noise_std: float, distribution: FloatArray) -> FloatArray:
        """Shrink the columns of noisy rows, what features explain less than what they do not.

        Three groups of coordinates carry ever less signal each, and each is shrunk by its own:
        single features, pairs of features, and what is left, by item popularity.

        Args:
            rows: `(n_items, m)` noisy directions.
            noise_std: standard deviation of the noise on every coordinate.
            distribution: `(n_items,)` item popularity.
        """
        by_single, rest = _explain(self.single, rows)
        by_pairs, rest = _explain(self.pairs, rest)
        reverse: npt.NDArray[np.intp] = np.arange(self.pairs.shape[1], dtype=np.intp)[::-1]
        kept = self.single @ shrink_columns(
            by_single, noise_std, _groups(np.arange(self.single.shape[1], dtype=np.intp), 1)
        )
        kept += self.pairs @ shrink_columns(by_pairs, noise_std, _groups(reverse, _PAIR_BINS))
        by_popularity = np.argsort(distribution, kind="stable")
        return kept + shrink_columns(rest, noise_std, _groups(by_popularity, _POPULARITY_BINS))


def feature_pairs(features: FloatArray | None, n_items: int) -> FloatArray:
    """Multiply features in pairs, keeping the most frequent that at least 15 items share.

    Returns:
        `(n_items, g)` with g at most 160; none for more than 64 features or without features.
    """
    if features is None or features.shape[1] > _MOST_FEATURES_WITH_PAIRS:
        return np.zeros((n_items, 0))
    upper, lower = np.triu_indices(features.shape[1], k=1)
    products = features[:, upper] * features[:, lower]
    shared = np.count_nonzero(products, axis=0)
    order = np.argsort(-shared, kind="stable")[:_MOST_PAIRS]
    frequent: npt.NDArray[np.intp] = order[shared[order] >= _FEWEST_ITEMS_OF_A_PAIR]
    return products[:, frequent]


def _orthonormal(columns: FloatArray, tolerance: float) -> FloatArray:
    """Return an orthonormal basis of the columns, strongest first."""
    if columns.shape[1] == 0:
        return columns
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    kept = singular > tolerance * max(float(singular[0]), 1e-300)
    return np.asarray(left[:, kept], dtype=np.float64)


def _explain(basis: FloatArray, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Split rows into coordinates on a basis and the rest."""
    coordinates = basis.T @ rows
    return coordinates, rows - basis @ coordinates


def _groups(order: npt.NDArray[np.intp], count: int) -> list[npt.NDArray[np.intp]]:
    """Cut an order into equal groups, none empty."""
    return [part for part in np.array_split(order, count) if len(part)]
