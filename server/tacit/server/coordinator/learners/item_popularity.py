"""From the noised popularity sum to a distribution over items."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.protocol import FloatArray, NoisedSum

POPULARITY = "popularity/1"

_GRID = 80
_STEPS = 100
_FLOOR_USERS = 0.05
_GROUPS = 5  # by predicted popularity
_EARLIER_GROUPS = 25  # by popularity in an earlier release
_BORROWED_ITEMS = 60.0  # a group's prior is worth this many of its own items less
_HEAVIEST_FEATURES = 48
_RIDGES = tuple(np.geomspace(1.0, 1e4, 15).tolist())


def item_distribution(
    released: NoisedSum,
    features: FloatArray | None = None,
    earlier: FloatArray | None = None,
) -> FloatArray:
    """Estimate the share of each item in what users consume, all above zero, summing to 1.

    Each item's true sum is taken as a draw from an unknown distribution, which is estimated from
    all noised sums by maximum likelihood on a grid (Kiefer and Wolfowitz 1956; expectation
    maximisation as in Jiang and Zhang 2009, section 3); each item gets its posterior mean. So the
    tail, where single sums are noise, keeps its mass and loses its noise. Public features sharpen
    the prior: items are grouped by the popularity that a ridge regression on their features
    predicts, and each group has a distribution of its own, with that of all items as pseudo-counts
    (empirical Bayes with covariates; Ignatiadis and Wager 2019). An earlier release's popularity
    predicts better than features do, and takes their place. All this is post-processing.

    Args:
        released: the sum of `popularity/1`.
        features: `(n_items, f)` public item features, or `None`.
        earlier: `(n_items,)` popularity of an earlier release, or `None`.

    Returns:
        `(n_items,)`.
    """
    sums = released.values
    if released.noise_std > 0.0:
        groups = np.zeros(len(sums), dtype=np.intp)
        if earlier is not None:
            groups = _groups(earlier, _EARLIER_GROUPS)
        elif features is not None:
            groups = _groups(_predicted(sums, features), _GROUPS)
        sums = _posterior_means(sums, released.noise_std, groups)
    floored = np.maximum(sums, _FLOOR_USERS)
    return floored / float(np.sum(floored))


def _predicted(sums: FloatArray, features: FloatArray) -> FloatArray:
    """Predict sums from features by ridge regression, its penalty chosen by cross-validation.

    Generalised cross-validation (Golub, Heath, Wahba 1979) looks at nothing but the noised sums.
    """
    heaviest = np.argsort(-np.abs(features).sum(axis=0), kind="stable")[:_HEAVIEST_FEATURES]
    centred = features[:, heaviest] - features[:, heaviest].mean(axis=0)
    wanted = sums - sums.mean()
    values, axes = np.linalg.eigh(centred.T @ centred)
    values = np.maximum(values, 0.0)
    moments, scores = axes.T @ (centred.T @ wanted), centred @ axes
    fits = [scores @ (moments / (values + ridge)) for ridge in _RIDGES]
    errors = [
        float(np.sum((wanted - fit) ** 2))
        / (1.0 - np.sum(values / (values + ridge)) / len(sums)) ** 2
        for ridge, fit in zip(_RIDGES, fits, strict=True)
    ]
    return np.asarray(fits[int(np.argmin(errors))], dtype=np.float64)


def _groups(predicted: FloatArray, count: int) -> npt.NDArray[np.intp]:
    """Group items into equal parts by predicted popularity."""
    ranks = np.argsort(np.argsort(predicted, kind="stable"), kind="stable")
    return ranks * count // len(predicted)


def _posterior_means(
    sums: FloatArray, noise_std: float, groups: npt.NDArray[np.intp]
) -> FloatArray:
    """Compute the empirical-Bayes posterior mean of each sum under Gaussian noise."""
    largest = max(float(np.max(sums)), 2.0 * noise_std)
    grid = np.geomspace(0.02 * min(noise_std, largest), largest, _GRID)
    distances = (sums[:, np.newaxis] - grid[np.newaxis, :]) / noise_std
    # The nearest grid point has likelihood 1, so no row underflows to zero.
    nearest = np.min(distances**2, axis=1, keepdims=True)
    likelihood = np.exp(-0.5 * (distances**2 - nearest))
    shared = _mixture(likelihood, np.full(_GRID, 1.0 / _GRID), 0.0)
    means = np.empty(len(sums))
    for group in np.unique(groups):
        mine = groups == group
        prior = shared if mine.all() else _mixture(likelihood[mine], shared, _BORROWED_ITEMS)
        posterior = likelihood[mine] * prior
        means[mine] = posterior @ grid / np.sum(posterior, axis=1)
    return means


def _mixture(likelihood: FloatArray, start: FloatArray, borrowed: float) -> FloatArray:
    """Maximise the likelihood of a mixture over the grid, with `borrowed` pseudo-counts."""
    prior = start
    for _ in range(_STEPS):
        counts = prior * np.sum(likelihood / (likelihood @ prior)[:, np.newaxis], axis=0)
        prior = (counts + borrowed * start) / (len(likelihood) + borrowed)
    return prior


def effective_history(released: NoisedSum, expected_cohort: int) -> float:
    """Estimate a typical profile's total weight from the same sum, at no further cost.

    For unit weights `sum_i x_ui / ||x_u|| = sqrt(n_u)`, so the total over the public cohort size
    is the mean of `sqrt(n_u)`; its square is returned, at least 1.
    """
    return max(float(np.sum(released.values)) / expected_cohort, 1.0) ** 2
