"""A lower bound on mu of Gaussian differential privacy from one run, by guessing canaries.

As in `one_run`, m canaries are in by independent fair coins and an auditor guesses for exactly r of
them. An (epsilon, delta) claim says little about a Gaussian mechanism; its whole trade-off function
says more, so more is refuted (Mahloujifar, Melis, Chaudhuri 2025, "Auditing f-Differential Privacy
in One Run", ICML, arXiv:2410.22235). The bound is theirs; for fair coins it follows in a few lines:

Let W be the number of right guesses, ``p_j = P[W = j]``, and ``F(x) = 1 - f(x)``, which is concave.
Take a canary i, all other coins as they fell, and the event that the guess for i is right and
W = j. For the same output with coin i turned, the guess is wrong and W = j - 1. So by f-DP, summed
over any set of j, and by Jensen's inequality over coins, sides and canaries,

    sum_{i >= j} (i/m) p_i  <=  F( sum_{i >= j-1} ((r - i)/m) p_i )          for j = 1..r.

With ``Q_j = P[W >= j]`` and G the inverse of F (for GDP ``G(x) = Phi(Phi^-1(x) - mu)``) this reads

    (r - j + 1) Q_{j-1}  >=  sum_{i >= j} Q_i + m G( (j Q_j + sum_{i > j} Q_i) / m ).

The right side does not fall in any Q_i. Start at ``Q_v = tau`` and ``Q_i = 0`` above v, and go down
with equality (or ``Q_{j-1} = Q_j`` where that is more): by induction every real Q is at least this
one. But the real Q_0 is 1. So where the recursion passes 1, ``P[W >= v] < tau``.
"""

from __future__ import annotations

from statistics import NormalDist

from tacit.privacy._parameters import natural, open_unit, positive_integer, positive_real
from tacit.privacy.errors import BadParameter

_NORMAL = NormalDist()
_LARGEST_MU = 64.0
_HALVINGS = 16  # what is returned is refuted in any case


def f_dp_refutes(
    n_canaries: int, n_guesses: int, n_correct: int, mu: float, confidence: float
) -> bool:
    """Tell whether so many right guesses refute that a mechanism is mu-GDP.

    Guarantee: if every canary's coin turns the output by no more than a mu-GDP mechanism does
    (add/remove, whatever the other coins are), coins were fair and independent and `n_guesses` was
    fixed beforehand, the answer is true with probability below ``1 - confidence``. Nothing is
    assumed about how outputs for different canaries hang together.

    Args:
        n_canaries: m, canaries that each had a fair coin.
        n_guesses: r, guesses made; abstaining from the others is free.
        n_correct: v, guesses that were right.
        mu: the claim that is tested, at least 0.
        confidence: in (0, 1).

    Raises:
        BadParameter: not ``0 <= v <= r <= m``, or a parameter out of range.
    """
    m, r, v = _counts(n_canaries, n_guesses, n_correct)
    if mu != 0.0:
        positive_real("mu", mu)
    return _passes_one(m, r, v, mu, 1.0 - open_unit("confidence", confidence))


def one_run_mu(n_canaries: int, n_guesses: int, n_correct: int, confidence: float) -> float:
    """Return the largest mu that these guesses refute, 0 for none; at most 64.

    Guarantee: as `f_dp_refutes`; the returned value exceeds the mu of a mu-GDP mechanism with
    probability at most ``1 - confidence``.

    Raises:
        BadParameter: as `f_dp_refutes`.
    """
    m, r, v = _counts(n_canaries, n_guesses, n_correct)
    level = 1.0 - open_unit("confidence", confidence)
    low, high = 0.0, 1.0
    if not _passes_one(m, r, v, low, level):
        return 0.0
    while _passes_one(m, r, v, high, level):
        low, high = high, 2.0 * high
        if low >= _LARGEST_MU:
            return _LARGEST_MU
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _passes_one(m, r, v, middle, level):
            low = middle
        else:
            high = middle
    return low


def _passes_one(m: int, r: int, v: int, mu: float, tau: float) -> bool:
    """Run the recursion from ``Q_v = tau`` down to Q_0; O(v) steps."""
    tail, above = tau, 0.0  # Q_j and the sum of Q_i over i > j
    for j in range(v, 0, -1):
        right = (j * tail + above) / m
        if right >= 1.0:
            return True
        wrong = _NORMAL.cdf(_NORMAL.inv_cdf(right) - mu)
        following = max(tail, (above + tail + m * wrong) / (r - j + 1))
        above += tail
        tail = following
        if tail > 1.0:
            return True
    return False


def _counts(n_canaries: int, n_guesses: int, n_correct: int) -> tuple[int, int, int]:
    m = positive_integer("n_canaries", n_canaries)
    r = positive_integer("n_guesses", n_guesses)
    v = natural("n_correct", n_correct)
    if not v <= r <= m:
        raise BadParameter(f"expected correct <= guesses <= canaries, got {v}, {r} and {m}")
    return m, r, v
