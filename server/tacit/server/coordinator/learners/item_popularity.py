"""From the noised popularity sum to a distribution over items."""

from __future__ import annotations

import numpy as np

from tacit.server.coordinator.learners.protocol import FloatArray, NoisedSum

POPULARITY = "popularity/1"

_GRID = 80
_STEPS = 100
_FLOOR_USERS = 0.05


def item_distribution(released: NoisedSum) -> FloatArray:
    """Estimate the share of each item in what users consume, all above zero, summing to 1.

    Each item's true sum is taken as a draw from an unknown distribution, which is estimated from
    all noised sums by maximum likelihood on a grid (Kiefer and Wolfowitz 1956; expectation
    maximisation as in Jiang and Zhang 2009, section 3); each item gets its posterior mean. So the
    tail, where single sums are noise, keeps its mass and loses its noise. This is post-processing.

    Args:
        released: the sum of `popularity/1`.

    Returns:
        `(n_items,)`.
    """
    sums = released.values
    if released.noise_std > 0.0:
        sums = _posterior_means(sums, released.noise_std)
    floored = np.maximum(sums, _FLOOR_USERS)
    return floored / float(np.sum(floored))


def _posterior_means(sums: FloatArray, noise_std: float) -> FloatArray:
    """Compute the empirical-Bayes posterior mean of each sum under Gaussian noise."""
    largest = max(float(np.max(sums)), 2.0 * noise_std)
    grid = np.geomspace(0.02 * min(noise_std, largest), largest, _GRID)
    distances = (sums[:, np.newaxis] - grid[np.newaxis, :]) / noise_std
    # The nearest grid point has likelihood 1, so no row underflows to zero.
    nearest = np.min(distances**2, axis=1, keepdims=True)
    likelihood = np.exp(-0.5 * (distances**2 - nearest))
    prior = np.full(_GRID, 1.0 / _GRID)
    for _ in range(_STEPS):
        prior = prior * np.mean(likelihood / (likelihood @ prior)[:, np.newaxis], axis=0)
    posterior = likelihood * prior
    return np.asarray(posterior @ grid / np.sum(posterior, axis=1), dtype=np.float64)


def effective_history(released: NoisedSum, expected_cohort: int) -> float:
    """Estimate a typical profile's total weight from the same sum, at no further cost.

    For unit weights `sum_i x_ui / ||x_u|| = sqrt(n_u)`, so the total over the public cohort size
    is the mean of `sqrt(n_u)`; its square is returned, at least 1.
    """
    return max(float(np.sum(released.values)) / expected_cohort, 1.0) ** 2
