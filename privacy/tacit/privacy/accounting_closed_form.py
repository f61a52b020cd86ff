"""Bracket the epsilon of composed discrete Gaussian releases in closed form, without any library.

**Composition.** Releases of the continuous Gaussian with noise multipliers z, every user in every
one, compose to exactly one Gaussian mechanism with ``mu = sqrt(sum 1/z^2)``, also adaptively (Dong,
Roth, Su 2022, arXiv:1905.02383, Theorem 4 and Corollary 2; for noise multipliers chosen as one goes
under a cap: Smith, Thakurta 2022, arXiv:2210.17520). Its exact curve is

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)

(Balle, Wang 2018, arXiv:1805.06530, Theorem 8).

**From the lattice to the line.** The noise is the *discrete* Gaussian of parameter sigma = z L on
d integer coordinates. Take any r in (0, sigma) and ``s^2 = sigma^2 - r^2``. Draw Y ~ N(v, s^2)
around the integer sum v, then an integer Z with weights ``exp(-(Z - Y)^2 / (2 r^2))``: the second
step sees Y alone, so it is post-processing of a Gaussian mechanism (the convolution lemma of
Peikert 2010, eprint 2010/088, Theorem 3.1). By Poisson summation the weights at any centre Y sum to
``r sqrt(2 pi) (1 + t)`` with ``|t| <= theta(r) = 2 sum_k exp(-2 pi^2 r^2 k^2)``, and the product of
the two bells is the bell of parameter sigma, so the probability of each Z is within ``1 +- theta``
of the discrete Gaussian's, up to one constant that is the same for every integer v. Hence, for D
coordinates in all releases together and every event S,

    P(S) - e^epsilon Q(S) <= (1 + theta)^D [ P'(S) - e^(epsilon - eta) Q'(S) ],
    eta = D log((1 + theta) / (1 - theta)),

P' and Q' being post-processed Gaussians of variance s^2: `epsilon_upper` is the closed form at
``z'^2 = z^2 - (r/L)^2`` and ``delta (1 + theta)^-D``, plus eta. With r = 2, L >= 1,024 and
D <= 2^31 a release, that is ``z^2 - 3.9e-6`` and an eta below 1e-15: a rigorous bound in any
dimension, for any sequence of releases, that costs nothing one could see in six decimals of z.

The same identity read backwards (add N(0, r^2) to the discrete Gaussian) bounds it from below:
`epsilon_lower` is the closed form at ``z^2 + (r/L)^2`` for a user whose contribution reaches the
norm along one axis. No analysis can go below it, so nobody's trusted figure may either.

**Floats.** delta is evaluated from scaled complementary error functions, with 2^-44 of the larger
term given away in the direction that is safe; the only assumption is that ``exp`` and ``erfc`` of
the platform are right to 100 units in the last place. A test holds both ends against mpmath.
"""

import math
from collections.abc import Callable, Sequence

from tacit.privacy._parameters import open_unit, positive_real
from tacit.privacy.accounting_sums import LATTICE, RADIUS, GaussianSums, theta
from tacit.privacy.errors import BadParameter
from tacit.privacy.gaussian_event import GaussianEvent

__all__ = [
    "LATTICE",
    "MAX_COORDINATES",
    "delta_bounds",
    "epsilon_lower",
    "epsilon_upper",
    "largest_mu",
    "lower_of_sums",
    "upper_of_sums",
]

MAX_COORDINATES = 1 << 31
"""Most coordinates one release may have; `RoundPlan` and int64 sums allow fewer."""

_SLACK = 2.0**-44
_ROOT_PI = math.sqrt(math.pi)
_ROOT_2 = math.sqrt(2.0)
_LARGEST_A = 26.0


def epsilon_upper(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return an epsilon that the composed events certainly satisfy at `target_delta`, not rounded.

    Guarantee: ``(epsilon, target_delta)``-DP under add/remove of one user who may be in every
    release, for discrete Gaussian noise of parameter at least ``z L`` on at most `MAX_COORDINATES`
    integer coordinates, L >= `MIN_SENSITIVITY`, and contributions within L. Infinite where the
    noise is too small for the lattice bound (z below 0.002).

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    delta = open_unit("target_delta", target_delta)
    return upper_of_sums(GaussianSums.of(events), delta)


def upper_of_sums(sums: GaussianSums, target_delta: float) -> float:
    """Return `epsilon_upper` of a composition known by its sums; `target_delta` is in (0, 1)."""
    if not sums.releases:
        return 0.0
    if math.isinf(sums.upper_mu_squared):
        return math.inf
    return _upper_at(math.sqrt(sums.upper_mu_squared), target_delta, sums.releases)


def epsilon_lower(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return an epsilon below which no correct analysis of these events can go, not rounded.

    It is the loss of a user who is in every release with a contribution of norm exactly L along
    one axis, which no check on contributions forbids.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    delta = open_unit("target_delta", target_delta)
    return lower_of_sums(GaussianSums.of(events), delta)


def lower_of_sums(sums: GaussianSums, target_delta: float) -> float:
    """Return `epsilon_lower` of a composition known by its sums; `target_delta` is in (0, 1)."""
    if not sums.releases or math.isinf(sums.lower_eta):
        return 0.0
    eta, mu = sums.lower_eta, math.sqrt(sums.lower_mu_squared)
    return max(0.0, _gaussian_lower(mu, target_delta * math.exp(eta)) - eta)


def largest_mu(epsilon: float, target_delta: float, releases: int) -> float:
    """Return a mu, as large as may be, whose `epsilon_upper` over `releases` is at most `epsilon`.

    Releases with ``z^2 = 1 / (mu^2 share) + LATTICE`` and shares that sum to one then spend it.

    Raises:
        BadParameter: `epsilon` is not above 0 and finite, or `target_delta` not in (0, 1).
    """
    total, delta = positive_real("epsilon", epsilon), open_unit("target_delta", target_delta)

    def fits(mu: float) -> bool:
        return _upper_at(mu, delta, releases) <= total

    low, high = 0.0, 1.0
    while fits(high):
        low, high = high, 2.0 * high
    return _bisect(lambda mu: not fits(mu), low, high)[0]


def delta_bounds(mu: float, epsilon: float) -> tuple[float, float]:
    """Return (lower, upper) bounds on the delta of the Gaussian mechanism with this mu.

    Raises:
        BadParameter: `mu` is not above 0 and finite, or `epsilon` is negative or not finite.
    """
    positive_real("mu", mu)
    if epsilon != 0.0:
        positive_real("epsilon", epsilon)
    return _delta_bounds(mu, (epsilon / mu - mu / 2.0) / _ROOT_2)


def _upper_at(mu: float, delta: float, releases: int) -> float:
    coordinates = releases * float(MAX_COORDINATES)
    eta = 3.0 * coordinates * theta(RADIUS)  # at least D log((1 + theta) / (1 - theta))
    return max(0.0, _gaussian_upper(mu, delta * math.exp(-eta)) + eta)


def _gaussian_upper(mu: float, delta: float) -> float:
    """Return the least epsilon >= 0 at which delta of the Gaussian is certainly at most `delta`."""
    start = -mu / (2.0 * _ROOT_2)  # a at epsilon 0
    if _delta_bounds(mu, start)[1] <= delta:
        return 0.0
    end = max(_LARGEST_A, start)
    if _delta_bounds(mu, end)[1] > delta:
        raise BadParameter(f"target_delta: expected at least 1e-290, got {delta!r}")
    a = _bisect(lambda a: _delta_bounds(mu, a)[1] <= delta, start, end)[1]
    return mu * (mu / 2.0 + _ROOT_2 * a) * (1.0 + 1e-14)


def _gaussian_lower(mu: float, delta: float) -> float:
    """Return the largest epsilon at which delta of the Gaussian is certainly at least `delta`."""
    start = -mu / (2.0 * _ROOT_2)
    if delta >= 1.0 or _delta_bounds(mu, start)[0] < delta:
        return 0.0
    a = _bisect(lambda a: _delta_bounds(mu, a)[0] < delta, start, max(_LARGEST_A, start))[0]
    return mu * (mu / 2.0 + _ROOT_2 * a) * (1.0 - 1e-14)


def _delta_bounds(mu: float, a: float) -> tuple[float, float]:
    """Return bounds on delta at ``epsilon = mu (mu / 2 + sqrt(2) a)``.

    With ``b = a + mu / sqrt(2)`` the two terms of the closed form are ``erfc(a) / 2`` and
    ``exp(-a^2) erfcx(b) / 2``: nothing overflows, and epsilon need not be known exactly.
    """
    b = a + mu / _ROOT_2
    if a < 0.0:
        first, scale = math.erfc(a), math.exp(-a * a)
        second = scale * _erfcx(b)
        difference, error = first - second, _SLACK * first
    else:
        scale = math.exp(-a * a)
        first = _erfcx(a)
        difference = scale * (first - _erfcx(b))
        # The exponential adds an error of its own, which grows with the rounding of a^2.
        error = scale * _SLACK * first + (1.0 + a * a) * 2.0**-50 * difference
    return max(0.0, difference - error) / 2.0, (difference + error) / 2.0


def _erfcx(x: float) -> float:
    """Return ``exp(x^2) erfc(x)`` for x >= 0, to a relative error of about 1e-14."""
    if x < 2.5:
        return math.exp(x * x) * math.erfc(x)
    # Laplace's continued fraction (Abramowitz, Stegun, 7.1.14), from the inside out.
    tail = x
    for k in range(60, 0, -1):
        tail = x + k / 2.0 / tail
    return 1.0 / (_ROOT_PI * tail)


def _bisect(above: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Return neighbours with ``above`` false at the first, true at the second (monotone)."""
    while True:
        middle = low + (high - low) / 2.0
        if not low < middle < high:
            return low, high
        low, high = (low, middle) if above(middle) else (middle, high)
