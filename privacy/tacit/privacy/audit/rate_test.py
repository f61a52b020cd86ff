"""Exact test of a random draw's rate: are as many chosen as the amplification claim assumes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.privacy._parameters import natural, open_unit, positive_integer
from tacit.privacy.audit.binomial import binomial_pmf
from tacit.privacy.errors import BadParameter


@dataclass(frozen=True, slots=True)
class RateTest:
    """What a draw showed.

    Attributes:
        n_trials, n_chosen: how many could be and how many were chosen.
        rate: the rate promised.
        p_value: probability, at that rate, of a count as far out as this or farther; two-sided.
        findings: one line where it failed; empty where no violation was detected.
    """

    n_trials: int
    n_chosen: int
    rate: float
    p_value: float
    findings: tuple[str, ...]


def rate_test(n_chosen: int, n_trials: int, rate: float, alpha: float) -> RateTest:
    """Test whether independent coins of chance `rate` give this count.

    Guarantee: a correct draw fails with probability at most `alpha` (exact binomial tails,
    doubled).

    Raises:
        BadParameter: a parameter is out of range.
    """
    trials = positive_integer("n_trials", n_trials)
    chosen, q = natural("n_chosen", n_chosen), open_unit("rate", rate)
    level = open_unit("alpha", alpha)
    if chosen > trials:
        raise BadParameter(f"n_chosen: expected at most {trials}, got {chosen}")
    pmf = binomial_pmf(trials, q)
    tail = min(float(pmf[: chosen + 1].sum()), float(pmf[chosen:].sum()))
    p_value = min(1.0, 2.0 * tail)
    findings = (
        (f"expected a rate of {q}, got {chosen} of {trials} ({chosen / trials:.5f})",)
        if p_value < level
        else ()
    )
    return RateTest(trials, chosen, q, p_value, findings)


def rate_power(n_trials: int, rate: float, alpha: float, actual_rate: float) -> float:
    """Compute the probability that `rate_test` fails a draw whose rate is another.

    Args:
        n_trials: as given to `rate_test`.
        rate: likewise.
        alpha: likewise.
        actual_rate: what the broken draw has, in (0, 1).

    Raises:
        BadParameter: a parameter is out of range.
    """
    trials = positive_integer("n_trials", n_trials)
    promised = binomial_pmf(trials, open_unit("rate", rate))
    below, above = np.cumsum(promised), np.cumsum(promised[::-1])[::-1]
    failing = 2.0 * np.minimum(below, above) < open_unit("alpha", alpha)
    actual = binomial_pmf(trials, open_unit("actual_rate", actual_rate))
    return min(1.0, float(actual[failing].sum()))
