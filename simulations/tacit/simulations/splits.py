"""Split interactions into train and test, per user, with a fixed public seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.client.statistics import Profiles
from tacit.simulations.errors import BadExperiment

PUBLIC_SPLIT_SEED = 20240101
"""Seed of the split; public, and unrelated to any protective randomness."""


@dataclass(frozen=True, slots=True)
class Split:
    """Hold two disjoint parts of the same profiles, both over all users.

    Attributes:
        train: what devices hold when the model is trained and when they fold it in.
        test: what rankings are scored against.
        seed: the public seed that made it.
    """

    train: Profiles
    test: Profiles
    seed: int


def per_user_split(
    profiles: Profiles, *, test_share: float = 0.2, seed: int = PUBLIC_SPLIT_SEED
) -> Split:
    """Hold out the rounded-down share of each user's items, at random.

    Users with fewer than `1 / test_share` items hold out nothing; the metrics report them as
    dropped.

    Args:
        profiles: all interactions.
        test_share: share to hold out, above 0 and below 1.
        seed: public seed, zero or more.

    Raises:
        BadExperiment: the share or the seed is out of range.
    """
    if not 0.0 < test_share < 1.0:
        raise BadExperiment(f"expected a test share between 0 and 1, got {test_share}")
    if seed < 0:
        raise BadExperiment(f"expected a split seed of zero or more, got {seed}")
    users = profiles.users
    order = np.lexsort((np.random.default_rng(seed).random(len(users)), users))
    counts = np.diff(profiles.indptr)
    rank = np.arange(len(users)) - np.repeat(profiles.indptr[:-1], counts)
    # The small addend keeps products such as 5 * 0.2 from falling just under an integer.
    held_out = np.floor(counts * test_share + 1e-9).astype(np.int64)
    in_test = np.zeros(len(users), dtype=np.bool_)
    in_test[order] = rank < held_out[users]
    return Split(_select(profiles, ~in_test), _select(profiles, in_test), seed)


def _select(profiles: Profiles, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Profiles:
    """Keep some entries of every user."""
    counts = np.bincount(profiles.users[kept], minlength=profiles.n_users)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])
    return Profiles(indptr, profiles.items[kept], profiles.weights[kept], profiles.n_items)
