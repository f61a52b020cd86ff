"""A lower bound on mu from canaries whose outputs are independent of one another.

An auditor that says "in" or "out" for each of many canaries has a rate of false positives and one
of false negatives; for a mu-GDP mechanism they cannot both be small:
``mu >= Phi^-1(1 - FPR) - Phi^-1(FNR)`` (Dong, Roth, Su 2022, arXiv:1905.02383, Definition 2.6;
as an audit: Nasr, Hayes, Steinke, Balle, Tramer, Jagielski, Carlini, Terzis 2023, "Tight Auditing
of Differentially Private Machine Learning", arXiv:2302.07956, Section 4). Rates are bounded from
above by Clopper and Pearson's exact limits (1934), each at half the level.

Far tighter than the one-run bounds, and it assumes more: the guesses for different canaries are
independent given the coins. Canaries in coordinates of their own have that where noise is drawn
independently for each coordinate, which the noise test looks at and these bounds do not.
"""

from __future__ import annotations

from statistics import NormalDist

from tacit.privacy._parameters import natural, open_unit, positive_integer
from tacit.privacy.audit.binomial import binomial_cdf
from tacit.privacy.errors import BadParameter

_NORMAL = NormalDist()
_HALVINGS = 30


def independent_trials_mu(
    n_in: int, n_missed: int, n_out: int, n_false_alarms: int, confidence: float
) -> float:
    """Return the largest mu that these guesses refute, 0 for none.

    Guarantee: if guesses for different canaries are independent given the coins, follow a rule
    fixed beforehand, and each canary's coin turns the output by no more than a mu-GDP mechanism
    does, the returned value exceeds mu with probability at most ``1 - confidence``.

    Args:
        n_in: canaries that were in.
        n_missed: those of them guessed "out".
        n_out: canaries that were out.
        n_false_alarms: those of them guessed "in".
        confidence: in (0, 1).

    Raises:
        BadParameter: more errors than canaries, or a parameter out of range.
    """
    level = 1.0 - open_unit("confidence", confidence)
    missed = rate_upper_limit(n_missed, n_in, level / 2.0)
    alarms = rate_upper_limit(n_false_alarms, n_out, level / 2.0)
    if missed + alarms >= 1.0:
        return 0.0
    return _NORMAL.inv_cdf(1.0 - alarms) - _NORMAL.inv_cdf(missed)


def rate_upper_limit(n_hits: int, n_trials: int, level: float) -> float:
    """Return Clopper and Pearson's upper limit: the largest rate not refuted at `level`.

    Raises:
        BadParameter: more hits than trials, or a parameter out of range.
    """
    trials, hits = positive_integer("n_trials", n_trials), natural("n_hits", n_hits)
    open_unit("level", level)
    if hits > trials:
        raise BadParameter(f"n_hits: expected at most {trials}, got {hits}")
    if hits == trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        refuted = middle >= 1.0 or binomial_cdf(hits, trials, middle) < level
        low, high = (low, middle) if refuted else (middle, high)
    return high
