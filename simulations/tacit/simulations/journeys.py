"""Generate a population that comes and goes, browses and buys: known structure in time.

Every user comes at an own rate and leaves for good at some moment; every session is either
purposeful (more items, searches and dwelling, often a cart or a purchase) or idle. So staying away
and intent can be predicted in part, and no better: the rest is chance by construction.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.simulations.datasets import Dataset
from tacit.simulations.errors import BadExperiment

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SIGNALS = ("add_to_cart", "dwell", "page_view", "product_view", "purchase", "search")
_CART, _DWELL, _PAGE, _VIEW, _PURCHASE, _SEARCH = range(6)

_DAYS = 120.0
_DAY_S = 86_400.0
_START_S = 1_700_000_000.0
_MOST_SESSIONS = 60
_ITEMS = 60
_IDLE = (0.15, 0.55, 0.25, 0.05)  # dwell, page, item view, search
_PURPOSEFUL = (0.30, 0.15, 0.40, 0.15)


def generate_journeys(n_users: int = 2000, seed: int = 0) -> Dataset:
    """Generate a population over 120 days.

    Args:
        n_users: users, at least 1.
        seed: seed of the population; never of protective noise.

    Returns:
        A data set whose values are seconds for dwell events and 1 for others.

    Raises:
        BadExperiment: a size or the seed is out of range.
    """
    if n_users < 1 or seed < 0:
        raise BadExperiment(f"expected users >= 1 and a seed >= 0, got {n_users} and {seed}")
    rng = np.random.default_rng(seed)
    owners, starts, purposeful = _sessions(rng, n_users)
    lengths = 1 + rng.poisson(np.where(purposeful, 9.0, 4.0))
    session = np.repeat(np.arange(len(owners)), lengths)
    ends = np.cumsum(lengths)
    signals = _signals(rng, purposeful[session])
    sells = rng.random(len(owners)) < np.where(purposeful, 0.6, 0.02)
    buys = sells & (rng.random(len(owners)) < 0.5) & (lengths > 1)
    signals[(ends - 1)[sells]] = _CART
    signals[(ends - 1)[buys]] = _PURCHASE
    signals[(ends - 2)[buys]] = _CART
    gaps = rng.exponential(np.where(purposeful, 40.0, 20.0)[session])
    gaps[ends - lengths] = 0.0
    elapsed = np.cumsum(gaps)
    since_start = elapsed - elapsed[(ends - lengths)[session]]
    dwell = rng.exponential(np.where(purposeful, 45.0, 12.0)[session])
    return Dataset(
        name="generated journeys",
        user_ids=tuple(f"user-{index + 1:05d}" for index in range(n_users)),
        item_ids=tuple(f"sku-{index + 1:04d}" for index in range(_ITEMS)),
        titles=tuple(f"Item {index + 1}" for index in range(_ITEMS)),
        feature_names=(),
        features=None,
        signal_names=SIGNALS,
        users=owners[session],
        items=rng.integers(0, _ITEMS, len(session)),
        signals=signals,
        values=np.where(signals == _DWELL, dwell, 1.0),
        timestamps=starts[session] + since_start,
    )


def _sessions(
    rng: np.random.Generator, n_users: int
) -> tuple[IntArray, FloatArray, npt.NDArray[np.bool_]]:
    """Draw sessions in user and time order: owner, start in seconds, whether purposeful."""
    per_day = rng.gamma(1.5, 0.2, n_users) + 0.05
    joins = rng.uniform(0.0, 0.6 * _DAYS, n_users)
    stays = rng.exponential(60.0, n_users)
    purpose = rng.beta(1.2, 2.5, n_users)
    gaps = rng.exponential(1.0, (n_users, _MOST_SESSIONS)) / per_day[:, np.newaxis]
    days = joins[:, np.newaxis] + np.cumsum(gaps, axis=1) - gaps[:, :1]
    there = days < np.minimum(joins + stays, _DAYS)[:, np.newaxis]
    owners, _ = np.nonzero(there)
    purposeful = rng.random(len(owners)) < purpose[owners]
    return owners.astype(np.int64), _START_S + days[there] * _DAY_S, purposeful


def _signals(rng: np.random.Generator, purposeful: npt.NDArray[np.bool_]) -> IntArray:
    """Draw the signal of each browsing event."""
    kinds = np.array([_DWELL, _PAGE, _VIEW, _SEARCH], dtype=np.int64)
    uniform = rng.random(len(purposeful))
    idle = np.searchsorted(np.cumsum(_IDLE)[:-1], uniform, side="right")
    busy = np.searchsorted(np.cumsum(_PURPOSEFUL)[:-1], uniform, side="right")
    return kinds[np.where(purposeful, busy, idle)]
