"""Read a released linear model on the device: predict, say why, and choose among actions.

The model is a Gaussian posterior over the coefficients of each regression, `beta ~ N(b, S)`,
given noised sums (`tacit.server.coordinator.learners.linear`). A score is `phi b`; because it is
linear, its split over features is exact. Pure functions: randomness comes in as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.client.decide.errors import BadHistory, BadModel

FloatArray = npt.NDArray[np.float64]

_SHAPES = {
    "coefficients": ("n", "d"),
    "covariance": ("n", "d", "d"),
    "means": ("n", "d"),
    "base_rate": ("n",),
    "residual_variance": ("n",),
    "drowned": ("n",),
}
_MOST_CERTAIN = 1e-4  # a probability is never stated beyond one in ten thousand
_GRID = 401
_GRID_REACH = 8.0


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Hold a released linear model of `n` regressions on `d` features.

    Attributes:
        coefficients: `(n, d)` posterior mean; the first is the intercept.
        covariance: `(n, d, d)` posterior covariance.
        means: `(n, d)` mean of each feature over the users, the first 1.
        base_rate: `(n,)` mean of the target.
        residual_variance: `(n,)` variance of the target around the score.
        drowned: `(n,)` 1 where noise drowned the signal and the score is the mean.
    """

    coefficients: FloatArray
    covariance: FloatArray
    means: FloatArray
    base_rate: FloatArray
    residual_variance: FloatArray
    drowned: FloatArray

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> LinearModel:
        """Check released arrays and build a model.

        Raises:
            BadModel: an array is missing, misshapen, not finite, or a variance is negative.
        """
        missing = set(_SHAPES) - set(arrays)
        if missing:
            raise BadModel(f"expected model arrays {sorted(missing)}, got {sorted(arrays)}")
        held = {name: np.asarray(arrays[name], dtype=np.float64) for name in _SHAPES}
        if held["coefficients"].ndim != 2 or held["coefficients"].size == 0:
            raise BadModel("expected coefficients of shape (n, d), n and d at least 1")
        sizes = dict(zip("nd", held["coefficients"].shape, strict=True))
        for name, axes in _SHAPES.items():
            shape = tuple(sizes[axis] for axis in axes)
            if held[name].shape != shape:
                raise BadModel(f"expected {name} of shape {shape}, got {held[name].shape}")
            if not bool(np.all(np.isfinite(held[name]))):
                raise BadModel(f"expected finite {name}")
        variances = np.diagonal(held["covariance"], axis1=1, axis2=2)
        if float(variances.min()) < 0.0 or float(held["residual_variance"].min()) < 0.0:
            raise BadModel("expected variances of zero or more")
        if float(held["base_rate"].min()) < 0.0 or float(held["base_rate"].max()) > 1.0:
            raise BadModel("expected base_rate in [0, 1]")
        return cls(**held)

    @property
    def n_blocks(self) -> int:
        """Count the regressions: 1, or one an action."""
        return len(self.coefficients)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Say what a model expects of one person.

    Attributes:
        score: posterior mean of the target, not bounded.
        standard_error: posterior standard deviation of `score`: how well the model is known.
        low, high: interval that holds the expected target with the probability asked for.
        probability: the score as a calibrated probability, for targets of 0 and 1.
    """

    score: float
    standard_error: float
    low: float
    high: float
    probability: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold an action and the probability with which it was chosen; log both with the event."""

    action: int
    propensity: float


def predict(
    model: LinearModel, features: FloatArray, block: int = 0, *, deviations: float = 1.96
) -> Prediction:
    """Predict the target of one person.

    The interval is for the *expected* target given the features, from noise and sampling both; a
    single outcome of 0 or 1 varies around it by `residual_variance`.

    The probability follows from the regression by the discriminant relation: with features normal
    within each class, log-odds are linear, and least squares gives them up to the factor
    `1 / residual variance` (Haggstrom 1983, "Logistic regression and discriminant analysis by
    ordinary least squares", J. Business & Economic Statistics 1(3)). Log-odds that are not well
    known are drawn in: divided by `sqrt(1 + pi v / 8)` for a posterior variance `v` (MacKay 1992,
    "The evidence framework applied to classification networks", eq. 24), so that doubt reads as
    doubt. The probability lies in [1e-4, 1 - 1e-4].

    Args:
        model: a released model.
        features: `(d,)` from the target's own `features`.
        block: which regression.
        deviations: half-width of the interval in standard errors; 1.96 for 95%.

    Raises:
        BadHistory: the features do not fit the model.
    """
    return Prediction(
        *_interval(model, features, block, deviations), _probability(model, features, block)
    )


def probabilities(model: LinearModel, features: FloatArray, block: int = 0) -> FloatArray:
    """Give the calibrated probability of many people at once, `(m,)`; see `predict`.

    Args:
        model: a released model.
        features: `(m, d)`.
        block: which regression.
    """
    return np.array([_probability(model, row, block) for row in features], dtype=np.float64)


def attribution(model: LinearModel, features: FloatArray, block: int = 0) -> FloatArray:
    """Split a score into the shares of the features, `(d,)`; the first is 0.

    A share is what the feature adds compared with the mean user. Post-condition:
    `base_rate + sum(shares)` is the score up to float rounding, and setting one feature to its
    mean lowers the score by exactly its share.

    Raises:
        BadHistory: the features do not fit the model.
    """
    _check(model, features, block)
    return np.asarray(model.coefficients[block] * (features - model.means[block]), dtype=np.float64)


def choose_thompson(
    model: LinearModel, features: FloatArray, uniform: float, *, floor: float = 0.02
) -> Choice:
    """Choose an action as often as it is the best one under the posterior.

    Thompson sampling chooses each action with the posterior probability that it is optimal (Agrawal
    and Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs"). Regressions of
    different actions are independent, so that probability is one integral, computed here, and the
    propensity to log is known exactly instead of being estimated from draws.

    Args:
        model: a released model with one regression an action.
        features: `(d,)` the context.
        uniform: a random number in [0, 1), from the caller.
        floor: least probability of every action, from 0 to one over the number of actions;
            bounds the importance weights of what is learned next.

    Raises:
        BadHistory: the features do not fit, or `uniform` or `floor` is out of range.
    """
    _check_draw(model, uniform, floor)
    return _draw(_mixed(best_probabilities(model, features), floor), uniform)


def choose_ucb(
    model: LinearModel,
    features: FloatArray,
    uniform: float,
    *,
    deviations: float = 1.0,
    floor: float = 0.02,
) -> Choice:
    """Choose the action with the highest upper confidence bound, every other at the floor.

    LinUCB (Li, Chu, Langford, Schapire 2010, Algorithm 1) with `alpha = deviations`. See
    `choose_thompson` for the arguments.

    Raises:
        BadHistory: the features do not fit, or an argument is out of range.
    """
    _check_draw(model, uniform, floor)
    tops = [_interval(model, features, a, deviations)[3] for a in range(model.n_blocks)]
    best = np.zeros(model.n_blocks)
    best[int(np.argmax(tops))] = 1.0
    return _draw(_mixed(best, floor), uniform)


def best_probabilities(model: LinearModel, features: FloatArray) -> FloatArray:
    """Compute the posterior probability that each action has the highest score, `(n,)`, sum 1.

    `P(a best) = integral of p_a(z) prod_{b != a} F_b(z) dz` by the trapezoid rule.

    Raises:
        BadHistory: the features do not fit the model.
    """
    read = [_interval(model, features, block, 1.0) for block in range(model.n_blocks)]
    centres = np.array([one[0] for one in read])
    # A certain score is a step; a hair of width keeps the integral defined and splits ties.
    spreads = np.maximum(np.array([one[1] for one in read]), 1e-9)
    low = float(np.min(centres - _GRID_REACH * spreads))
    high = float(np.max(centres + _GRID_REACH * spreads))
    # Every score's own range gets its own points, so that a narrow one is not stepped over.
    around = centres[:, np.newaxis] + spreads[:, np.newaxis] * np.linspace(
        -_GRID_REACH, _GRID_REACH, _GRID
    )
    points = np.unique(np.concatenate([around.ravel(), [low, high]]))
    standard = (points - centres[:, np.newaxis]) / spreads[:, np.newaxis]
    erfc = [math.erfc(-z / math.sqrt(2.0)) for z in standard.ravel().tolist()]
    below = 0.5 * np.array(erfc).reshape(standard.shape)
    chances = np.empty(len(centres))
    for action in range(len(centres)):
        others = np.prod(np.delete(below, action, axis=0), axis=0)
        # Stieltjes form: steps of F_a need no density and add up to at most 1.
        chances[action] = float(np.sum(np.diff(below[action]) * (others[1:] + others[:-1]) / 2.0))
    return np.asarray(chances / np.sum(chances), dtype=np.float64)


def _interval(
    model: LinearModel, features: FloatArray, block: int, deviations: float
) -> tuple[float, float, float, float]:
    """Compute score, standard error, low and high."""
    _check(model, features, block)
    score = float(features @ model.coefficients[block])
    error = math.sqrt(max(float(features @ model.covariance[block] @ features), 0.0))
    return score, error, score - deviations * error, score + deviations * error


def _probability(model: LinearModel, features: FloatArray, block: int) -> float:
    """Turn a score into a probability by Haggstrom's relation."""
    shares = attribution(model, features, block)
    base = min(max(float(model.base_rate[block]), _MOST_CERTAIN), 1.0 - _MOST_CERTAIN)
    variance = max(float(model.residual_variance[block]), 1e-6)
    # Linear discriminant with class means m1, m0 of the score, p m1 + q m0 = p: the midpoint of
    # the classes lies (1/2 - p)(1 - s2 / pq) from the mean, the slope is 1 / s2.
    spread = base * (1.0 - base)
    log_odds = (
        math.log(base / (1.0 - base))
        + (base + float(np.sum(shares)) - 0.5) / variance
        - (base - 0.5) / spread
    )
    _, error, _, _ = _interval(model, features, block, 1.0)
    log_odds /= math.sqrt(1.0 + math.pi * (error / variance) ** 2 / 8.0)
    probability = 1.0 / (1.0 + math.exp(-min(max(log_odds, -50.0), 50.0)))
    return min(max(probability, _MOST_CERTAIN), 1.0 - _MOST_CERTAIN)


def _mixed(best: FloatArray, floor: float) -> FloatArray:
    return (1.0 - len(best) * floor) * best + floor


def _draw(chances: FloatArray, uniform: float) -> Choice:
    """Choose by inverting the distribution function."""
    action = int(np.searchsorted(np.cumsum(chances), uniform, side="right"))
    action = min(action, len(chances) - 1)
    return Choice(action, float(chances[action]))


def _check_draw(model: LinearModel, uniform: float, floor: float) -> None:
    if not 0.0 <= uniform < 1.0:
        raise BadHistory(f"expected uniform in [0, 1), got {uniform}")
    if not 0.0 <= floor <= 1.0 / model.n_blocks:
        raise BadHistory(f"expected a floor from 0 to {1.0 / model.n_blocks:.3g}, got {floor}")


def _check(model: LinearModel, features: FloatArray, block: int) -> None:
    """Raise `BadHistory` unless the features fit the regression."""
    if not 0 <= block < model.n_blocks:
        raise BadHistory(f"expected a block in [0, {model.n_blocks}), got {block}")
    if features.shape != model.coefficients[block].shape:
        raise BadHistory(
            f"expected {model.coefficients.shape[1]} features, got shape {features.shape}"
        )
    if not bool(np.all(np.abs(features) <= 1.0)):
        raise BadHistory("expected finite features in [-1, 1]")
