"""A lower bound on epsilon from one run, by guessing which canaries were in it.

m canaries are each included by an independent fair coin. From what was released an auditor guesses
for r of them, chosen in any way, whether each was in. If the mechanism is (epsilon, delta)-DP under
add/remove, few guesses can be right, and many right guesses refute the claim at a stated
confidence (Steinke, Nasr, Jagielski 2023, "Privacy Auditing with One (1) Training Run",
arXiv:2305.08846, Theorem 5.2 and Corollary 5.4; the bound computed is that of its Appendix D).

The bound is one-sided: a small value says that this auditor saw nothing, not that nothing leaks.
"""

from __future__ import annotations

import math

import numpy as np

from tacit.privacy._parameters import natural, open_unit, positive_integer, positive_real
from tacit.privacy.audit.binomial import binomial_pmf
from tacit.privacy.errors import BadParameter

_LARGEST_EPSILON = 30.0
_HALVINGS = 40


def one_run_p_value(
    n_canaries: int, n_guesses: int, n_correct: int, epsilon: float, delta: float
) -> float:
    """Bound the probability of so many correct guesses if the mechanism is (epsilon, delta)-DP.

    ``P[correct >= v] <= f(v) + 2 m delta max_i (P[v > B >= v - i] / i)`` with B binomial of r
    trials at ``e^epsilon / (1 + e^epsilon)``, f its upper tail.

    Args:
        n_canaries: m, canaries that each had a fair coin.
        n_guesses: r, guesses made; abstaining from the others is free.
        n_correct: v, guesses that were right.
        epsilon: the claim that is tested, at least 0.
        delta: its delta, in [0, 1).

    Raises:
        BadParameter: not ``0 <= v <= r <= m``, or a parameter out of range.
    """
    m = positive_integer("n_canaries", n_canaries)
    r = positive_integer("n_guesses", n_guesses)
    v = natural("n_correct", n_correct)
    if not v <= r <= m:
        raise BadParameter(f"expected correct <= guesses <= canaries, got {v}, {r} and {m}")
    if epsilon != 0.0:
        positive_real("epsilon", epsilon)
    if delta != 0.0:
        open_unit("delta", delta)
    if v == 0:
        return 1.0
    pmf = binomial_pmf(r, 1.0 / (1.0 + math.exp(-epsilon)))
    tail = float(pmf[v:].sum())
    below = np.cumsum(pmf[:v][::-1])  # P[v > B >= v - i] for i = 1..v
    steepest = float(np.max(below / np.arange(1, v + 1)))
    return min(1.0, tail + 2.0 * m * delta * steepest)


def one_run_epsilon(
    n_canaries: int, n_guesses: int, n_correct: int, delta: float, confidence: float
) -> float:
    """Return the largest epsilon that these guesses refute, 0 for none; at most 30.

    Guarantee: if the mechanism is (epsilon, delta)-DP under add/remove, coins were fair and
    independent and `n_guesses` was fixed beforehand, the returned value exceeds epsilon with
    probability at most ``1 - confidence``.

    Raises:
        BadParameter: as `one_run_p_value`, or `confidence` is not in (0, 1).
    """
    level = 1.0 - open_unit("confidence", confidence)

    def refuted(epsilon: float) -> bool:
        return one_run_p_value(n_canaries, n_guesses, n_correct, epsilon, delta) < level

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, _LARGEST_EPSILON
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if refuted(middle):
            low = middle
        else:
            high = middle
    return low
