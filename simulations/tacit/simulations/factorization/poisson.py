"""Draw who takes part: every user independently, from the operating system's randomness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import Profiles
from tacit.privacy.discrete_gaussian import RandomBytes
from tacit.simulations.errors import BadExperiment

_BYTES = 8


def poisson_draw(n_users: int, rate: float, random_bytes: RandomBytes) -> npt.NDArray[np.intp]:
    """Return the users drawn, rising; each is in with probability `rate`, alone of the others.

    The rate is realised to 2^-64, rounded down, so amplification is never over-claimed.

    Raises:
        BadExperiment: the rate is not in (0, 1).
    """
    if not 0.0 < rate < 1.0:
        raise BadExperiment(f"expected a sampling rate between 0 and 1, got {rate}")
    uniform = np.frombuffer(random_bytes(_BYTES * n_users), dtype="<u8")
    return np.flatnonzero(uniform < np.uint64(int(rate * 2.0**64)))


def take(profiles: Profiles, users: npt.NDArray[np.intp]) -> Profiles:
    """Return the profiles of some users, in the given order."""
    counts = np.diff(profiles.indptr)[users]
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])
    offsets = np.arange(int(indptr[-1])) - np.repeat(indptr[:-1], counts)
    entries = np.repeat(profiles.indptr[:-1][users], counts) + offsets
    return Profiles(indptr, profiles.items[entries], profiles.weights[entries], profiles.n_items)
