"""How well a history lets a model know a person's taste, and what asking would add.

Both are about the posterior covariance of taste, which both read-outs have in closed form:
`(n W^T S^-1 W + diag(1/v))^-1` for taste directions, `H^-1` for item factors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.client.decide.factors import FactorModel
from tacit.client.decide.released import ReleasedModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ANSWER_EVENTS = 5.0
"""A stated answer about a group of items tells as much as this many events would."""


def taste_covariance(model: ReleasedModel, items: IntArray, weights: FloatArray) -> FloatArray:
    """Return the posterior covariance of taste given a history, `(k, k)`."""
    if isinstance(model, FactorModel):
        own = model.rows.take(items)
        normal = model.gramian + own.T @ (own * weights[:, np.newaxis])
    elif len(items) == 0:
        return np.diag(model.prior_variance)
    else:
        normal = float(np.sum(weights)) * model.precision + np.diag(1.0 / model.prior_variance)
    return np.asarray(np.linalg.inv(normal), dtype=np.float64)


def confidence(model: ReleasedModel, items: IntArray, weights: FloatArray) -> float:
    """Return the share of the uncertainty about scores that a history removed, in [0, 1).

    Uncertainty is the expected squared error of an item's score around the person's true one,
    `tr(A C)` with `C` the covariance of taste and `A` the metric in which a unit of taste moves
    scores; it does not depend on how the directions are scaled.
    """
    nothing = np.empty(0, dtype=np.int64)
    before = uncertainty(model, taste_covariance(model, nothing, np.empty(0)))
    after = uncertainty(model, taste_covariance(model, items, weights))
    return min(max(1.0 - after / before, 0.0), 1.0) if before > 0.0 else 0.0


def uncertainty(model: ReleasedModel, covariance: FloatArray) -> float:
    """Return `tr(A C)`; see `confidence`."""
    return float(np.sum(_metric(model) * covariance))


def expected_gain(model: ReleasedModel, covariance: FloatArray, group: IntArray) -> float:
    """Return how much a stated answer about a group of items would lower the uncertainty.

    An answer is a noisy reading of the group's share of a person's interest, `w^T u + noise`; a
    Gaussian posterior then loses `(C w)^T A (C w) / (w^T C w + r)` whatever the answer is
    (Bishop 2006, eq. 2.117 for one more observation).

    Args:
        model: a released model.
        covariance: `(k, k)` from `taste_covariance`.
        group: items asked about together, at least one.
    """
    if isinstance(model, FactorModel):
        reading = model.rows.take(group).mean(axis=0)
        noise = 1.0 / ANSWER_EVENTS
    else:
        reading = model.rows.take(group).sum(axis=0)
        share = min(float(model.popularity[group].sum()), 1.0)
        # The variance of a share counted over so many events; a group that is everything has none.
        noise = max(share * (1.0 - share), 1e-12) / ANSWER_EVENTS
    moved = covariance @ reading
    return float(moved @ _metric(model) @ moved) / (float(reading @ moved) + noise)


def _metric(model: ReleasedModel) -> FloatArray:
    if isinstance(model, FactorModel):
        return np.asarray(
            (model.gramian - model.ridge * np.eye(len(model.gramian))) / model.unseen_weight,
            dtype=np.float64,
        )
    return model.precision
