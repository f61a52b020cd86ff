"""From the noised popularity sum to a distribution over items."""

from __future__ import annotations

import numpy as np

from tacit.server.coordinator.learners.protocol import FloatArray, NoisedSum

POPULARITY = "popularity/1"

_TAIL_EDGE = 2.0
_FLOOR_USERS = 0.05


def item_distribution(released: NoisedSum) -> FloatArray:
    """Estimate the share of each item in what users consume, all above zero, summing to 1.

    Items whose noised sum lies under twice the noise cannot be told apart; they share the mean of
    their group, so the tail keeps its mass and loses its noise. This is post-processing.

    Args:
        released: the sum of `popularity/1`.

    Returns:
        `(n_items,)`.
    """
    sums, noise = released.values, released.noise_std
    shrunk = np.maximum(sums, 0.0)
    tail = sums < _TAIL_EDGE * noise
    if bool(np.any(tail)):
        shrunk[tail] = max(float(np.mean(sums[tail])), _FLOOR_USERS * noise)
    shrunk = np.maximum(shrunk, _FLOOR_USERS)
    return shrunk / float(np.sum(shrunk))


def effective_history(released: NoisedSum, expected_cohort: int) -> float:
    """Estimate a typical profile's total weight from the same sum, at no further cost.

    For unit weights `sum_i x_ui / ||x_u|| = sqrt(n_u)`, so the total over the public cohort size
    is the mean of `sqrt(n_u)`; its square is returned, at least 1.
    """
    return max(float(np.sum(released.values)) / expected_cohort, 1.0) ** 2
