"""Shrink noisy rows towards zero by how much signal items of like popularity carry."""

from __future__ import annotations

import numpy as np

from tacit.server.coordinator.learners.protocol import FloatArray

_BINS = 40


def isotonic(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Fit the non-decreasing sequence nearest to `values` in weighted least squares.

    Pool-adjacent-violators (Barlow, Bartholomew, Bremner, Brunk 1972, section 1.2).
    """
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        masses.append(weight)
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mass = masses[-2] + masses[-1]
            means[-2] = (means[-2] * masses[-2] + means[-1] * masses[-1]) / mass
            masses[-2] = mass
            counts[-2] += counts[-1]
            del means[-1], masses[-1], counts[-1]
    return np.repeat(np.array(means, dtype=np.float64), counts)


def row_factors(rows: FloatArray, noise_std: float, distribution: FloatArray) -> FloatArray:
    """Estimate the share of each row's energy that is signal.

    Items are binned by popularity; the mean square of a bin minus the known noise variance is its
    signal variance, made non-decreasing in popularity because more popular items have more to say.
    The factor `v / (v + noise^2)` is the best linear shrinkage for that variance (empirical Bayes,
    James and Stein 1961 in each bin).

    Args:
        rows: `(n_items, k)` noisy rows.
        noise_std: standard deviation of the noise on every coordinate.
        distribution: `(n_items,)` item popularity.

    Returns:
        `(n_items,)` factors in [0, 1]; all 1 without noise.
    """
    if noise_std == 0.0:
        return np.ones(len(rows))
    order = np.argsort(distribution, kind="stable")
    bins = np.array_split(order, min(_BINS, len(order)))
    noise = noise_std**2
    excess = np.array([float(np.mean(rows[members] ** 2)) - noise for members in bins])
    signal = np.maximum(isotonic(excess, np.array([float(len(b)) for b in bins])), 0.0)
    factors = np.empty(len(rows))
    for members, variance in zip(bins, signal.tolist(), strict=True):
        factors[members] = variance / (variance + noise)
    return factors
