"""Shrink noisy coordinates towards zero by how much signal their like carry."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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
    columns: FloatArray, noise_std: float, weakest_first: Sequence[npt.NDArray[np.intp]]
) -> FloatArray:
    """Shrink each column by the signal variance of groups of coordinates.

    In each group and column the mean square minus the known noise variance is the signal variance
    `v`, made non-decreasing along the groups. `v / (v + noise^2)` is then the best linear shrinkage
    (empirical Bayes; Efron and Morris 1973, section 2).

    Args:
        columns: `(n, m)` noisy coordinates of `m` directions.
        noise_std: standard deviation of the noise on every coordinate; 0 shrinks nothing.
        weakest_first: disjoint non-empty groups of rows, in a public order of expected strength;
            together all rows.

    Returns:
        `(n, m)`.
    """
    if noise_std == 0.0 or columns.size == 0:
        return columns
    noise = noise_std**2
    sizes = np.array([float(len(group)) for group in weakest_first])
    excess = np.stack([np.mean(columns[group] ** 2, axis=0) - noise for group in weakest_first])
    shrunk = np.empty_like(columns)
    for column in range(columns.shape[1]):
        signal = np.maximum(isotonic(excess[:, column], sizes), 0.0)
        for group, variance in zip(weakest_first, signal.tolist(), strict=True):
            shrunk[group, column] = columns[group, column] * (variance / (variance + noise))
    return shrunk


def shrink_symmetric_blocks(
    matrix: FloatArray, noise_std: float, groups: npt.NDArray[np.intp]
) -> FloatArray:
    """Shrink a noisy symmetric matrix block by block, each by the signal variance it shows.

    Args:
        matrix: `(q, q)` symmetric.
        noise_std: standard deviation of the noise on an entry beside the diagonal.
        groups: `(q,)` group of each row and column; two groups span a block.

    Returns:
        `(q, q)` symmetric.
    """
    shrunk = np.zeros_like(matrix)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for position, rows in enumerate(members):
        for columns in members[position:]:
            block = matrix[np.ix_(rows, columns)]
            signal = max(float(np.mean(block**2)) - noise_std**2, 0.0)
            kept = block * (signal / (signal + noise_std**2))
            shrunk[np.ix_(rows, columns)] = kept
            shrunk[np.ix_(columns, rows)] = kept.T
    return shrunk


def growing_groups(n: int, smallest: int, count: int) -> list[npt.NDArray[np.intp]]:
    """Cut `n` coordinates, strongest first, into at most `count` groups of growing size.

    Groups end at geometric places, so that the strong, which differ most, share with few; none is
    smaller than `smallest`, or its variance could not be told from noise.

    Args:
        n: number of coordinates.
        smallest: size of the smallest group; fewer coordinates than that form one.
        count: largest number of groups.

    Returns:
        Groups from the strongest to the weakest, none empty.
    """
    if n == 0:
        return []
    ends = [0]
    for end in np.round(np.geomspace(min(smallest, n), n, count)).astype(int).tolist():
        if end - ends[-1] >= smallest:
            ends.append(end)
    ends[1 if len(ends) == 1 else -1 :] = [n]
    return [np.arange(start, end, dtype=np.intp) for start, end in itertools.pairwise(ends)]
