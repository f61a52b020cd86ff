"""Bootstrap intervals over users: how far a figure would move with other people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.simulations.metrics import METRICS, Evaluation
from tacit.simulations.trained import FloatArray

_RESAMPLES = 1000
_DRAWS = 20_000_000  # resamples times users, at most
_FEWEST = 100
_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold a 95% percentile interval (Efron and Tibshirani 1993, chapter 13)."""

    low: float
    high: float

    def to_json(self) -> list[float]:
        """Return `[low, high]`."""
        return [self.low, self.high]


def bootstrap_means(per_user: FloatArray, seed: int = 0) -> FloatArray:
    """Resample users with replacement and average, `(n_resamples, n_columns)`.

    1,000 resamples, fewer (at least 100) beyond 20,000 users. The seed is public and fixed: it
    protects nobody, and the same result gets the same interval.

    Args:
        per_user: `(n_users, n_columns)`, at least one user.
        seed: public seed.
    """
    n_users = len(per_user)
    resamples = max(_FEWEST, min(_RESAMPLES, _DRAWS // n_users))
    rng = np.random.default_rng(seed)
    parts: list[FloatArray] = []
    for start in range(0, resamples, _CHUNK):
        drawn = rng.multinomial(
            n_users, np.full(n_users, 1.0 / n_users), size=min(_CHUNK, resamples - start)
        )
        parts.append(drawn @ per_user / n_users)
    return np.concatenate(parts)


def metric_intervals(evaluation: Evaluation) -> dict[str, Interval]:
    """Give the interval of every metric's mean."""
    means = bootstrap_means(evaluation.per_user)
    return {name: _interval(means[:, column]) for column, name in enumerate(METRICS)}


def share_interval(evaluation: Evaluation, reference: Evaluation, metric: str) -> Interval:
    """Give the interval of a metric as share of a reference, over the same resampled users.

    Pre-condition: both evaluated the same users.
    """
    column = METRICS.index(metric)
    pair = np.column_stack([evaluation.per_user[:, column], reference.per_user[:, column]])
    means = bootstrap_means(pair)
    return _interval(means[:, 0] / np.maximum(means[:, 1], 1e-12))


def _interval(values: FloatArray) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
