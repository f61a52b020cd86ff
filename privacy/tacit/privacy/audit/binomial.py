"""Probabilities of a binomial variable, from logarithms of factorials; no library."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt


def binomial_pmf(n: int, p: float) -> npt.NDArray[np.float64]:
    """Compute ``P(X = k)`` for k = 0..n, ``(n + 1,)``; relative error about 1e-15 n.

    Args:
        n: trials, zero or more.
        p: chance of success, in (0, 1).
    """
    successes = np.arange(n + 1, dtype=np.float64)
    logs = _log_choices(n) + successes * math.log(p) + successes[::-1] * math.log1p(-p)
    return np.asarray(np.exp(logs), dtype=np.float64)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Compute ``P(X <= k)``; work grows with k alone.

    Args:
        k: in 0..n.
        n: trials, zero or more.
        p: chance of success, in (0, 1).
    """
    successes = np.arange(k + 1, dtype=np.float64)
    logs = _log_choices(n)[: k + 1] + successes * (math.log(p) - math.log1p(-p))
    return float(np.exp(logs + n * math.log1p(-p)).sum())


@functools.lru_cache(maxsize=4)
def _log_choices(n: int) -> npt.NDArray[np.float64]:
    """Compute ``log(n over k)`` for k = 0..n; kept, for a search asks for one n many times."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1, dtype=np.float64)))])
    choices = factorials[n] - factorials - factorials[::-1]
    choices.setflags(write=False)
    return np.asarray(choices, dtype=np.float64)
