"""Learner `linear/1`: regression from one noised sum of Gram matrices and moments.

Sufficient-statistics perturbation (Vu and Slavkovic 2009) followed by post-processing only:

1. The noised triangle becomes a symmetric matrix; its first entry is a noised count, so the mean
   is divided out by a number that was paid for, never by a private count.
2. Features and target are centred, so that the intercept is not shrunk.
3. In the eigenbasis of the centred Gram matrix, negative eigenvalues become 0 (the nearest
   positive semi-definite matrix) and each direction is regularised by the known noise. That is the
   idea of AdaSSP (Wang 2018, "Revisiting differentially private linear regression", Algorithm 2:
   a ridge as large as the noise on the smallest eigenvalue). Here the ridge is one a direction:
   the posterior mean under Gaussian noise of known size (as Bernstein and Sheldon 2019,
   "Differentially private Bayesian linear regression", section 3), with the prior variance
   estimated from the same noised sums.
4. The posterior covariance goes out with the coefficients: devices give intervals and explore.

All of it is a function of noised sums and public numbers, so it costs no further budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from tacit.server.coordinator.learners.errors import BadPlan
from tacit.server.coordinator.learners.protocol import (
    FloatArray,
    NoisedSum,
    PublicArrays,
    RoundSpec,
    check_history,
)
from tacit.server.coordinator.learners.rules import integer_norm_for

_USERS_ABOVE_NOISE = 3.0  # fewer weighted users than this many noise deviations give no mean
_SIGNAL_DEVIATIONS = 2.0  # of a chi-square, above which a moment is more than noise
_LEAST_RESIDUAL = 0.05  # of the target's variance: 0-1 behaviour is never fully explained


@dataclass(frozen=True, slots=True)
class LinearTarget:
    """Say what a linear model is to predict.

    Attributes:
        statistic: name and version of the client's statistic.
        n_features: d, the constant included.
        n_blocks: number of regressions; one, or one an action.
        parameters: public parameters of the statistic.
    """

    statistic: str
    n_features: int
    n_blocks: int
    parameters: Mapping[str, float | int]


TARGETS: Mapping[str, tuple[str, int, tuple[str, ...]]] = MappingProxyType(
    {
        "churn": ("churn_moments/1", 10, ("as_of_s", "horizon_days", "cutoffs")),
        "intent": ("intent_moments/1", 10, ("from_s", "as_of_s", "window_s")),
        "bandit": ("bandit_moments/1", 6, ("actions", "from_s", "as_of_s", "window_s")),
    }
)
"""Target → statistic, number of features, parameters; a test holds them to the client's."""


def linear_target(name: str, parameters: Mapping[str, float | int]) -> LinearTarget:
    """Look up a target and check that its parameters are all there.

    Raises:
        BadPlan: the target is unknown, or a parameter is missing, surplus or not finite.
    """
    if name not in TARGETS:
        raise BadPlan(f"expected a target among {', '.join(TARGETS)}, got {name!r}")
    statistic, n_features, wanted = TARGETS[name]
    if set(parameters) != set(wanted) or not all(math.isfinite(v) for v in parameters.values()):
        raise BadPlan(
            f"target {name}: expected finite parameters {', '.join(wanted)}, "
            f"got {', '.join(sorted(parameters)) or 'none'}"
        )
    n_blocks = int(parameters["actions"]) if name == "bandit" else 1
    return LinearTarget(statistic, n_features, n_blocks, dict(parameters))


def clipping_norm_for(n_features: int) -> float:
    """Choose C from the number of features alone.

    Features lie in [-1, 1] and are 0 at a typical amount, so half their squares is a cautious mean:
    `B^2 = 1 + (d - 1) / 2` with the constant. A row with that norm and target 1 has the norm
    `B sqrt(B^2 + 1)`. Who lies beyond is scaled down, that is, gets a smaller weight.
    """
    squared = 1.0 + (n_features - 1) / 2.0
    return math.sqrt(squared * (squared + 1.0))


class LinearLearner:
    """Learn one linear regression, or one an action, from a single noised sum.

    Args:
        target: what to predict, with at least 2 features and 1 block.

    Raises:
        BadPlan: the target has no features, or its sums are too long for int16.
    """

    name = "linear/1"

    def __init__(self, target: LinearTarget) -> None:
        if target.n_features < 2 or target.n_blocks < 1:
            raise BadPlan(
                f"expected at least 2 features and 1 block, got {target.n_features} and "
                f"{target.n_blocks}"
            )
        self._target = target
        self._width = target.n_features * (target.n_features + 3) // 2
        integer_norm_for(self._width * target.n_blocks)

    def rounds(self) -> tuple[RoundSpec, ...]:
        """Plan the single round.

        A second round for the scales of the features would cost budget and is not needed: the
        features are bounded around public scales already.
        """
        return (
            RoundSpec(
                round_id=1,
                statistic=self._target.statistic,
                length=self._width * self._target.n_blocks,
                clipping_norm=clipping_norm_for(self._target.n_features),
                budget_share=1.0,
                parameters=self._target.parameters,
            ),
        )

    def context(self, round_id: int, history: Sequence[NoisedSum]) -> PublicArrays:
        """Return no arrays: the statistic needs none.

        Raises:
            BadHistory: the round is not 1 or there is a history already.
        """
        check_history(self.rounds(), history, expected=round_id - 1)
        return {}

    def model(self, history: Sequence[NoisedSum]) -> PublicArrays:
        """Return the posterior of each regression, float64, as `LinearModel` reads it.

        `coefficients`, `means` `(n, d)`, `covariance` `(n, d, d)`, `base_rate`,
        `residual_variance`, `drowned` `(n,)`. The target's public parameters go with them, each a
        `parameter_…` `()`: by them devices compute the features that were trained on.

        Targets are taken to be 0 or 1 (then `y^2 = y` gives the residual variance); for other
        targets in [0, 1] it is an upper bound. Where `drowned` is 1, noise left nothing to learn
        from and the regression is its mean.

        Raises:
            BadHistory: the history is not the one round.
        """
        check_history(self.rounds(), history)
        sums = history[0].values.reshape(self._target.n_blocks, self._width)
        fits = [regress(row, self._target.n_features, history[0].noise_std) for row in sums]
        model: PublicArrays = {name: np.stack([fit[name] for fit in fits]) for name in fits[0]}
        for name, value in self._target.parameters.items():
            model[f"parameter_{name}"] = np.asarray(value, dtype=np.float64)
        return model


def regress(sums: FloatArray, n_features: int, noise_std: float) -> dict[str, FloatArray]:
    """Fit one regression to its noised sums.

    Args:
        sums: `(d (d + 1) / 2 + d,)` scaled upper triangle, then moment.
        n_features: d; the first feature is the constant 1.
        noise_std: sigma, standard deviation of the noise on each sum; 0 for none.

    Returns:
        The arrays of `LinearLearner.model`, of one regression.
    """
    gram, moment = _unpack(sums, n_features)
    count = float(gram[0, 0])
    if count <= max(_USERS_ABOVE_NOISE * noise_std, 1e-9):
        # Not even the mean is known; half, give or take half, is all that may be said.
        return _mean_only(n_features, np.zeros(n_features - 1), 0.5, 0.25, 0.25)
    base = _base_rate(float(moment[0]) / count, noise_std / count)
    means = np.clip(gram[0, 1:] / count, -1.0, 1.0)
    centred = gram[1:, 1:] - np.outer(means, gram[0, 1:])
    centred = (centred + centred.T) / 2.0
    slope = moment[1:] - means * moment[0]
    spread = base * (1.0 - base)
    # Centring adds the noise of the count, the means and the base rate to that of the moment.
    noise = noise_std**2 * (1.0 + float(np.mean(means**2)) + 0.5 * base**2)
    base_variance = spread / count + noise_std**2 * (1.0 + base**2) / count**2
    eigenvalues, directions = np.linalg.eigh(centred)
    strength = np.maximum(eigenvalues, 0.0)
    projected = directions.T @ slope
    prior = _prior_variance(strength, projected, noise, noise_std)
    if prior <= 0.0:
        return _mean_only(n_features, means, base, spread, base_variance)
    # What stands between a projected moment and strength times coefficient: sampling, noise on
    # the moment, and noise on the Gram matrix acting on coefficients of the prior's size.
    disturbance = spread * strength + noise + noise_std**2 * prior * len(slope) / 2.0
    evidence = strength**2 * prior
    # No variance and no disturbance: a feature that is constant; it takes the prior's mean.
    known = np.divide(
        evidence, evidence + disturbance, out=np.zeros_like(evidence), where=evidence > 0.0
    )
    inverse = np.divide(known, strength, out=np.zeros_like(known), where=strength > 0.0)
    coefficients = directions @ (inverse * projected)
    covariance = (directions * (prior * (1.0 - known))) @ directions.T
    # A posterior mean covaries with the target as much as it varies itself, so what it explains is
    # its own variance; measuring the covariance instead would count noise as knowledge.
    explained = float(np.sum(strength * (inverse * projected) ** 2))
    residual = spread - explained / count
    residual = min(max(residual, _LEAST_RESIDUAL * spread), spread)
    return _with_intercept(coefficients, covariance, means, base, residual, base_variance)


def _base_rate(ratio: float, relative_noise: float) -> float:
    """Shrink a ratio of noised sums towards what is known without data: anything in [0, 1].

    The uniform distribution has mean 1/2 and variance 1/12; the ratio's noise has variance
    `(sigma / count)^2 (1 + ratio^2)` to first order. Without noise the ratio stays as it is.
    """
    held = min(max(ratio, 0.0), 1.0)
    weight = 12.0 * relative_noise**2 * (1.0 + held**2)
    return (held + weight * 0.5) / (1.0 + weight)


def _prior_variance(
    strength: FloatArray, projected: FloatArray, noise: float, noise_std: float
) -> float:
    """Estimate the variance of a coefficient by the method of moments; 0 for nothing but noise.

    `E |Q^T c|^2 = prior * sum(strength^2) + d * noise + sampling`. The moment must exceed what
    noise alone gives by `_SIGNAL_DEVIATIONS` standard deviations of that chi-square. Sampling is
    left in: how much it adds depends on how many rows people have, which nobody paid to know.
    """
    d = len(strength)
    excess = float(np.sum(projected**2)) - d * noise
    doubt = _SIGNAL_DEVIATIONS * math.sqrt(2.0 * d) * noise
    # Noise spreads eigenvalues: a symmetric noise matrix adds sigma^2 d (d + 1) / 4 to the sum of
    # squares. It is never below that of equal eigenvalues with the same sum (Cauchy-Schwarz).
    least = float(np.sum(strength)) ** 2 / d
    squares = max(float(np.sum(strength**2)) - noise_std**2 * d * (d + 1) / 4.0, least)
    if excess <= doubt or squares <= 0.0:
        return 0.0
    return excess / squares


def _unpack(sums: FloatArray, n_features: int) -> tuple[FloatArray, FloatArray]:
    """Turn a scaled triangle and moment into a symmetric matrix and a vector."""
    upper, lower = np.triu_indices(n_features)
    values = sums[: len(upper)] / np.where(upper == lower, 1.0, math.sqrt(2.0))
    gram = np.zeros((n_features, n_features))
    gram[upper, lower] = values
    gram[lower, upper] = values
    return gram, np.asarray(sums[len(upper) :], dtype=np.float64)


def _mean_only(
    n_features: int, means: FloatArray, base: float, residual: float, base_variance: float
) -> dict[str, FloatArray]:
    """Fall back to the mean and say so."""
    rest = n_features - 1
    fit = _with_intercept(
        np.zeros(rest), np.zeros((rest, rest)), means, base, residual, base_variance
    )
    return {**fit, "drowned": np.asarray(1.0)}


def _with_intercept(
    coefficients: FloatArray,
    covariance: FloatArray,
    means: FloatArray,
    base: float,
    residual: float,
    base_variance: float,
) -> dict[str, FloatArray]:
    """Express a regression on centred features as one on the features themselves.

    `intercept = base - means . coefficients`, and the covariance follows linearly.
    """
    d = len(means) + 1
    lift = np.eye(d)
    lift[0, 1:] = -means
    block = np.zeros((d, d))
    block[0, 0] = base_variance
    block[1:, 1:] = covariance
    return {
        "coefficients": lift @ np.concatenate([[base], coefficients]),
        "covariance": lift @ block @ lift.T,
        "means": np.concatenate([[1.0], means]),
        "base_rate": np.asarray(base),
        "residual_variance": np.asarray(residual),
        "drowned": np.asarray(0.0),
    }
