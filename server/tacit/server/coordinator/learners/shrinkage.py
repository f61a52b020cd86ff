"""Shrink noisy coordinates towards zero by how much signal their like carry."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.protocol import FloatArray


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


def shrink_columns(
    columns: FloatArray, noise_std: float, weakest_first: npt.NDArray[np.intp], bins: int
) -> FloatArray:
    """Shrink each column by the signal variance of bins of coordinates.

    Coordinates are binned in a public order of expected strength. In each bin and column the mean
    square minus the known noise variance is the signal variance `v`, made non-decreasing along the
    order. `v / (v + noise^2)` is then the best linear shrinkage (empirical Bayes; Efron and Morris
    1973, section 2).

    Args:
        columns: `(n, m)` noisy coordinates of `m` directions.
        noise_std: standard deviation of the noise on every coordinate; 0 shrinks nothing.
        weakest_first: `(n,)` public order of the coordinates.
        bins: number of bins, at most `n` are used.

    Returns:
        `(n, m)`.
    """
    if noise_std == 0.0 or columns.size == 0:
        return columns
    noise = noise_std**2
    parts = np.array_split(weakest_first, min(bins, len(weakest_first)))
    sizes = np.array([float(len(part)) for part in parts])
    excess = np.stack([np.mean(columns[part] ** 2, axis=0) - noise for part in parts])
    shrunk = np.empty_like(columns)
    for column in range(columns.shape[1]):
        signal = np.maximum(isotonic(excess[:, column], sizes), 0.0)
        for part, variance in zip(parts, signal.tolist(), strict=True):
            shrunk[part, column] = columns[part, column] * (variance / (variance + noise))
    return shrunk
