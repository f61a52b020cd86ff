"""The input of every statistic: what a batch of users consented to, as one sparse matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadProfile

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SIGNAL_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"product_view": 1.0, "rating": 1.0, "add_to_cart": 1.5, "purchase": 2.0}
)
"""How much one event of each signal says about taste; the strongest event of an item counts."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """Hold the profiles of a batch of users in compressed sparse rows.

    A device holds one user, the simulator thousands; both run the same statistics on it.

    Attributes:
        indptr: `(n_users + 1,)`; user `u` owns the entries `indptr[u]:indptr[u + 1]`.
        items: `(nnz,)` item index of each entry, strictly increasing within a user.
        weights: `(nnz,)` strength of each entry, finite and above zero.
        n_items: size of the public catalogue.
    """

    indptr: IntArray
    items: IntArray
    weights: FloatArray
    n_items: int

    def __post_init__(self) -> None:
        """Check every invariant once, so that statistics can rely on them.

        Raises:
            BadProfile: an array has the wrong shape, order, range or a non-finite weight.
        """
        if self.indptr.ndim != 1 or len(self.indptr) < 1 or self.indptr[0] != 0:
            raise BadProfile("expected indptr to be one-dimensional and to start at 0")
        lengths = np.diff(self.indptr)
        if np.any(lengths < 0) or self.indptr[-1] != len(self.items):
            raise BadProfile("expected indptr to rise from 0 to the number of entries")
        if self.items.shape != self.weights.shape or self.items.ndim != 1:
            raise BadProfile(
                f"expected one weight per item, got shapes {self.items.shape} and "
                f"{self.weights.shape}"
            )
        if len(self.items) == 0:
            return
        if int(self.items.min()) < 0 or int(self.items.max()) >= self.n_items:
            raise BadProfile(f"expected item indices in [0, {self.n_items})")
        if not bool(np.all(np.isfinite(self.weights))) or float(self.weights.min()) <= 0.0:
            raise BadProfile("expected finite weights above zero")
        rises = np.diff(self.items) > 0
        starts = self.indptr[1:-1]
        inner = starts[(starts > 0) & (starts < len(self.items))]
        rises[inner - 1] = True
        if not bool(np.all(rises)):
            raise BadProfile("expected strictly increasing items within each user")

    @property
    def n_users(self) -> int:
        """Count the users of the batch."""
        return len(self.indptr) - 1

    @property
    def users(self) -> IntArray:
        """Give the owning user of each entry, `(nnz,)`."""
        return np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(self.indptr))

    def slice(self, start: int, stop: int) -> Profiles:
        """Return the profiles of users `start` to `stop` (exclusive), as views."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return Profiles(
            indptr=self.indptr[start : stop + 1] - first,
            items=self.items[first:last],
            weights=self.weights[first:last],
            n_items=self.n_items,
        )


def build_profiles(
    users: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    weights: FloatArray,
    *,
    n_users: int,
    n_items: int,
) -> Profiles:
    """Fold events into profiles: one entry per user and item, the strongest event wins.

    Taking the maximum makes the result independent of the order of events, of repeats and of
    retransmissions, so a device and the simulator build the same profile from the same log.

    Args:
        users: `(n_events,)` owner of each event, in `[0, n_users)`.
        items: `(n_events,)` item of each event, in `[0, n_items)`.
        weights: `(n_events,)` weight of each event's signal; events at 0 are left out.
        n_users: users in the batch; those without events get an empty profile.
        n_items: size of the public catalogue.

    Raises:
        BadProfile: shapes differ, an index is out of range or a weight is negative or not finite.
    """
    if not users.shape == items.shape == weights.shape or users.ndim != 1:
        raise BadProfile("expected users, items and weights of one common length")
    if not bool(np.all(np.isfinite(weights))) or bool(np.any(weights < 0)):
        raise BadProfile("expected finite event weights of zero or more")
    owner, item = users.astype(np.int64), items.astype(np.int64)
    if len(owner) and (int(owner.min()) < 0 or int(owner.max()) >= n_users):
        raise BadProfile(f"expected user indices in [0, {n_users})")
    if len(item) and (int(item.min()) < 0 or int(item.max()) >= n_items):
        raise BadProfile(f"expected item indices in [0, {n_items})")
    kept = weights > 0
    keys, inverse = np.unique(owner[kept] * n_items + item[kept], return_inverse=True)
    strongest = np.zeros(len(keys), dtype=np.float64)
    np.maximum.at(strongest, inverse, weights[kept])
    counts = np.bincount(keys // n_items, minlength=n_users)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])
    return Profiles(indptr=indptr, items=keys % n_items, weights=strongest, n_items=n_items)


def signal_weights(signals: Sequence[str], weights: Mapping[str, float]) -> FloatArray:
    """Look up the weight of each event's signal; signals without a weight count as 0.

    Args:
        signals: signal name of each event.
        weights: weight by signal name, for example `SIGNAL_WEIGHTS`.
    """
    return np.array([weights.get(signal, 0.0) for signal in signals], dtype=np.float64)
