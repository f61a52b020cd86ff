"""White-box test of noise: the variance, mean and independence that the accountant assumes.

For n draws of a Gaussian of standard deviation sigma, ``sum x^2 / sigma^2`` is chi-squared with n
degrees of freedom. The discrete Gaussian with sigma >= 100 has the same moments to far more digits
than a test could see, so the same law holds. Tails are taken by the cube-root transformation
(Wilson, Hilferty 1931, "The distribution of chi-square"), which at n >= 1,000 is right to a few
per cent of the tail, at the levels used here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tacit.privacy._parameters import open_unit, positive_integer, positive_real
from tacit.privacy.errors import BadParameter

MIN_DRAWS = 1000

_NORMAL = NormalDist()
_PARTS = 4  # each of variance low, variance high, mean and correlation gets this share of alpha


@dataclass(frozen=True, slots=True)
class NoiseTest:
    """What the draws showed.

    Attributes:
        n_draws: coordinates tested.
        scale_ratio: measured root mean square over the sigma that was promised.
        mean_error: mean of the draws in standard errors; 0 is expected.
        correlation_error: correlation of neighbouring draws in standard errors; 0 is expected.
        findings: one line for each part that failed; empty where no violation was detected.
    """

    n_draws: int
    scale_ratio: float
    mean_error: float
    correlation_error: float
    findings: tuple[str, ...]


def noise_test(noise: npt.NDArray[np.int64], sigma: float, alpha: float) -> NoiseTest:
    """Test draws against independent noise of mean 0 and standard deviation `sigma`.

    Guarantee: correct noise fails with probability at most `alpha` (to the accuracy of the normal
    approximations); `noise_power` says how surely too little noise fails.

    Args:
        noise: ``(n,)`` what a mechanism added, in integer units, in the order it was added.
        sigma: ``z * L``, the standard deviation it must have; at least 100.
        alpha: probability of a false alarm, shared equally by four one-sided or two-sided parts.

    Raises:
        BadParameter: fewer than `MIN_DRAWS` draws, or a parameter out of range.
    """
    _check_sigma(sigma)
    n = _check_draws(len(noise))
    part = open_unit("alpha", alpha) / _PARTS
    scaled = noise.astype(np.float64) / sigma
    mean_square = float(np.mean(scaled * scaled))
    mean_error = float(np.mean(scaled)) * math.sqrt(n)
    correlation_error = float(np.mean(scaled[:-1] * scaled[1:])) * math.sqrt(n - 1)
    low, high = _limits(n, part)
    far = -_NORMAL.inv_cdf(part / 2)
    ratio = math.sqrt(mean_square)
    findings: list[str] = []
    if mean_square < low:
        findings.append(f"noise has {ratio:.4f} of the scale it must have: too little")
    if mean_square > high:
        findings.append(f"noise has {ratio:.4f} of the scale it must have: too much")
    if abs(mean_error) > far:
        findings.append(f"noise has a mean {mean_error:.1f} standard errors from 0")
    if abs(correlation_error) > far:
        findings.append(f"neighbouring noise correlates, {correlation_error:.1f} standard errors")
    return NoiseTest(n, ratio, mean_error, correlation_error, tuple(findings))


def noise_power(n_draws: int, alpha: float, scale_ratio: float) -> float:
    """Compute the probability that `noise_test` fails noise of `scale_ratio` times its sigma.

    Args:
        n_draws: coordinates tested.
        alpha: as given to `noise_test`.
        scale_ratio: standard deviation of the broken noise over what it must be, in (0, 1).

    Raises:
        BadParameter: a parameter is out of range.
    """
    n = _check_draws(n_draws)
    ratio = open_unit("scale_ratio", scale_ratio)
    low, _ = _limits(n, open_unit("alpha", alpha) / _PARTS)
    return _NORMAL.cdf(_cube_root_score(low / ratio**2, n))


def _limits(n: int, part: float) -> tuple[float, float]:
    """Return the mean squares (of n standard normals) below and above which `part` lies."""
    centre, spread = 1.0 - 2.0 / (9.0 * n), math.sqrt(2.0 / (9.0 * n))
    score = _NORMAL.inv_cdf(part)
    return (centre + score * spread) ** 3, (centre - score * spread) ** 3


def _cube_root_score(mean_square: float, n: int) -> float:
    """Return the normal score of a mean square of n standard normals."""
    return (math.cbrt(mean_square) - 1.0 + 2.0 / (9.0 * n)) / math.sqrt(2.0 / (9.0 * n))


def _check_draws(n_draws: int) -> int:
    n = positive_integer("n_draws", n_draws)
    if n < MIN_DRAWS:
        raise BadParameter(f"n_draws: expected at least {MIN_DRAWS}, got {n}")
    return n


def _check_sigma(sigma: float) -> None:
    if positive_real("sigma", sigma) < 100.0:
        raise BadParameter(f"sigma: expected at least 100, got {sigma!r}")
