"""Metrics of predicted probabilities, with bootstrap intervals over users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BOOTSTRAP_SEED = 20240102
"""Public seed of the resampling; no protection rests on it."""

_RESAMPLES = 400
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Measured:
    """Hold metrics with 95% bootstrap intervals.

    Attributes:
        means: metric by name.
        intervals: `(low, high)` by name.
    """

    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def auc(targets: FloatArray, scores: FloatArray, weights: FloatArray) -> float:
    """Compute the weighted area under the ROC curve; ties count half, 0.5 with one class only.

    The probability that a row of target 1 outscores one of target 0 (Mann and Whitney 1947).
    """
    order = np.argsort(scores, kind="stable")
    ranked, hits, mass = scores[order], targets[order], weights[order]
    positive, negative = mass * hits, mass * (1.0 - hits)
    total = float(np.sum(positive)) * float(np.sum(negative))
    if total <= 0.0:
        return 0.5
    starts = np.flatnonzero(np.diff(ranked, prepend=-np.inf) != 0)
    positives = np.add.reduceat(positive, starts)
    negatives = np.add.reduceat(negative, starts)
    below = np.cumsum(negatives) - negatives
    return float(np.sum(positives * (below + negatives / 2.0))) / total


def log_loss(targets: FloatArray, probabilities: FloatArray, weights: FloatArray) -> float:
    """Compute the weighted mean of `-ln p(target)`, in nats."""
    held = np.clip(probabilities, 1e-6, 1.0 - 1e-6)
    losses = -(targets * np.log(held) + (1.0 - targets) * np.log(1.0 - held))
    return float(np.average(losses, weights=weights))


def rmse(targets: FloatArray, probabilities: FloatArray, weights: FloatArray) -> float:
    """Compute the weighted root mean squared error."""
    return float(np.sqrt(np.average((targets - probabilities) ** 2, weights=weights)))


def measure(users: IntArray, targets: FloatArray, probabilities: FloatArray) -> Measured:
    """Compute all metrics over rows, and intervals from resampling whole users.

    Args:
        users: `(m,)` owner of each row; rows of one user depend on each other.
        targets: `(m,)` zeros and ones.
        probabilities: `(m,)` in [0, 1].
    """
    named: dict[str, Callable[[FloatArray], float]] = {
        "auc": lambda weights: auc(targets, probabilities, weights),
        "log_loss": lambda weights: log_loss(targets, probabilities, weights),
        "rmse": lambda weights: rmse(targets, probabilities, weights),
    }
    _, owners = np.unique(users, return_inverse=True)
    n_owners = int(owners.max()) + 1
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = [
        np.bincount(rng.integers(0, n_owners, n_owners), minlength=n_owners)
        for _ in range(_RESAMPLES)
    ]
    means = {name: metric(np.ones(len(targets))) for name, metric in named.items()}
    intervals: dict[str, tuple[float, float]] = {}
    for name, metric in named.items():
        values = np.array([metric(draw[owners].astype(np.float64)) for draw in draws])
        low, high = np.quantile(values, _INTERVAL).tolist()
        intervals[name] = (low, high)
    return Measured(means, intervals)


def mean_interval(values: FloatArray) -> tuple[float, float]:
    """Give a 95% bootstrap interval of the mean of one value a user."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    means = [
        float(np.mean(values[rng.integers(0, len(values), len(values))])) for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(np.array(means), _INTERVAL).tolist()
    return low, high
