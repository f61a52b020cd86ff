"""Hold out part of every user's items, at random, with a fixed public seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import Profiles
from tacit.simulations.errors import BadExperiment

PUBLIC_SPLIT_SEED = 20240101
"""Seed of the split; public, and unrelated to any protective randomness."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """Hold disjoint parts of the same interactions; row `u` of each part is user `u`.

    Attributes:
        train: what devices hold when the model is trained, weighted by signal.
        test: what rankings are scored against.
        seed: the public seed that made it.
        fold_in: what devices read when they rank: the entries of `train`, weighted by recency too
            where that is on.
        seen: what is never shown again: every item of the training part, whatever its signal.
        participants: `(n_users,)` who takes part in training; the others only fold in.
    """

    train: Profiles
    test: Profiles
    seed: int
    fold_in: Profiles
    seen: Profiles
    participants: BoolArray

    @cached_property
    def cohort(self) -> Profiles:
        """The only profiles a learner may train on: those of the participants."""
        return only_users(self.train, self.participants)

    def without_test(self) -> Split:
        """Return the same split with an empty test part, as a learner gets it."""
        empty = Profiles(
            np.zeros(self.test.n_users + 1, dtype=np.int64),
            np.zeros(0, dtype=np.int64),
            np.zeros(0),
            self.test.n_items,
        )
        return Split(self.train, empty, self.seed, self.fold_in, self.seen, self.participants)


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
    train = only_entries(profiles, ~in_test)
    everyone = np.ones(profiles.n_users, dtype=np.bool_)
    return Split(train, only_entries(profiles, in_test), seed, train, train, everyone)


def only_entries(profiles: Profiles, kept: BoolArray) -> Profiles:
    """Keep some entries of every user.

    Args:
        profiles: the profiles.
        kept: `(nnz,)` entries to keep.
    """
    counts = np.bincount(profiles.users[kept], minlength=profiles.n_users)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])
    return Profiles(indptr, profiles.items[kept], profiles.weights[kept], profiles.n_items)


def only_users(profiles: Profiles, kept: BoolArray) -> Profiles:
    """Keep some users, in order.

    Args:
        profiles: the profiles.
        kept: `(n_users,)` users to keep.
    """
    counts = np.diff(profiles.indptr)
    entries = np.repeat(kept, counts)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts[kept], dtype=np.int64)])
    return Profiles(indptr, profiles.items[entries], profiles.weights[entries], profiles.n_items)
