"""The coordinates the spectral learner works in.

Profiles are modelled as `x_u = n_u (pi + W u) + noise` with item noise variance `n_u pi`.
Devices send `y_u = (w * x_u) / ||w * x_u||` with public weights `w = pi^-a`: `a = 1/2` would whiten
the item noise, `a = 0` would spend the norm on popular items, where the signal is strongest.

`pi` itself is the same for everyone and must not use up norm, so it is projected out on both
sides by public arithmetic: the right factor by giving devices a basis with `V^T (w * pi) = 0`, the
left factor by subtracting from a sketch its own column totals spread over `pi`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.server.coordinator.learners.protocol import FloatArray

_WEIGHT_EXPONENT = 0.1


@dataclass(frozen=True, slots=True)
class Geometry:
    """Hold the item distribution and the weights derived from it.

    Attributes:
        distribution: `(n_items,)` pi, above zero, summing to 1.
        weights: `(n_items,)` w, scaled such that `sum w^2 pi = 1`.
    """

    distribution: FloatArray
    weights: FloatArray

    @classmethod
    def of(cls, distribution: FloatArray) -> Geometry:
        """Derive the coordinates from the item distribution."""
        weights = distribution**-_WEIGHT_EXPONENT
        weights /= np.sqrt(np.sum(weights * weights * distribution))
        # Devices receive float32: round here once, so that both sides use the same numbers.
        return cls(distribution, weights.astype(np.float32).astype(np.float64))

    def centred_basis(self, basis: FloatArray) -> FloatArray:
        """Return `V'` with `V'^T (w * x) = V^T (w * (x - n pi))` for every `x` of total `n`."""
        shared = (self.weights * self.distribution) @ basis
        return basis - shared[np.newaxis, :] / self.weights[:, np.newaxis]

    def centred_rows(self, sketch: FloatArray) -> FloatArray:
        """Remove the mean profile from the rows of a sketch, `(n_items, k)`."""
        totals = (1.0 / self.weights) @ sketch
        return sketch - np.outer(self.weights * self.distribution, totals)

    def taste_directions(self, features: FloatArray) -> FloatArray:
        """Point each feature in the direction in which a taste for it moves a profile.

        A taste for a feature multiplies the consumption of its items, so feature `F_j` points
        along `w * pi * F_j`, with the mean profile removed.

        Args:
            features: `(n_items, f)`.
        """
        return self.centred_rows((self.weights * self.distribution)[:, np.newaxis] * features)

    def self_products(self, cohort: int) -> FloatArray:
        """Estimate `sum_u y_ui^2`, the part of the second moment that says nothing about taste.

        For unit weights `y_ui^2 = w_i^2 x_ui / n_u` up to the scaling of `w`, whose sum over a
        cohort is about `cohort w_i^2 pi_i`.

        Returns:
            `(n_items,)`.
        """
        return cohort * self.weights * self.weights * self.distribution
