"""Probabilities of a binomial variable, from logarithms of factorials; no library."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def binomial_pmf(n: int, p: float) -> npt.NDArray[np.float64]:
    """Compute ``P(X = k)`` for k = 0..n, ``(n + 1,)``; relative error about 1e-15 n.

    Args:
        n: trials, zero or more.
        p: chance of success, in (0, 1).
    """
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1, dtype=np.float64)))])
    successes = np.arange(n + 1, dtype=np.float64)
    logs = factorials[n] - factorials - factorials[::-1]
    logs += successes * math.log(p) + successes[::-1] * math.log1p(-p)
    return np.asarray(np.exp(logs), dtype=np.float64)
