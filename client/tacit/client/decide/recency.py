"""Let the newer part of a local history weigh more; free in epsilon, for it never leaves a device.

The item seen `r`-th last gets `floor + exp(-r / tau)` times its weight, and all weights are then
scaled so that the history keeps its total: the read-out trusts a history by its total, and
recency changes what a person seems to want now, not how much is known about them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.errors import BadEvent

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recency:
    """State how fast the past fades.

    The defaults are the best by HR@10 of 14 settings tried on the last items of MovieLens 1M, with
    MovieLens 100K looked at beside it; one draw of noise, no separate validation part, so the gain
    on these two is optimistic. Spectral learner, epsilon 8, full ranking: HR@10 rises from 0.082
    to 0.154 (1M) and from 0.118 to 0.154 (100K). Between tau 2 and 5 and floor 0.01 and 0.02 it
    stays within 0.143 and 0.154, so the choice is not sharp. No other data has been tried.

    Attributes:
        floor: what the oldest items keep, at least 0; 0 forgets them altogether.
        tau: how many items back the extra weight of the new lasts, above 0.
    """

    floor: float = 0.02
    tau: float = 3.0

    def __post_init__(self) -> None:
        """Check that weights stay positive and finite.

        Raises:
            BadEvent: if they would not.
        """
        usable = math.isfinite(self.floor) and self.floor >= 0 and self.tau > 0
        if not usable:
            raise BadEvent("recency: expected a finite floor >= 0 and tau > 0")

    def reweight(self, weights: FloatArray, ages: IntArray, users: IntArray) -> FloatArray:
        """Weigh a batch of histories; each keeps its total weight.

        Post-condition: positive weights stay positive, also where `floor` is 0 and the item is
        old beyond what a float can hold.

        Args:
            weights: `(n,)` weight of each entry, above zero.
            ages: `(n,)` age rank of each entry within its user, 0 for the newest.
            users: `(n,)` owner of each entry; a device passes zeros.

        Returns:
            `(n,)` weights.
        """
        if len(weights) == 0:
            return weights
        faded = weights * np.maximum(self.floor + np.exp(-ages / self.tau), 1e-12)
        before, after = np.bincount(users, weights=weights), np.bincount(users, weights=faded)
        return np.asarray(faded * (before[users] / after[users]), dtype=np.float64)


DEFAULT_RECENCY = Recency()
"""For surfaces about what a person does next, which follows what they did last.

Not the default of a device: taking an event out ages all others, so an explanation's deltas, which
keep their weights, would no longer be what forgetting the event costs.
"""


def age_ranks(seen: npt.NDArray[np.floating | np.integer], users: IntArray) -> IntArray:
    """Rank the entries of each user by when they were last seen, 0 for the newest, `(n,)`.

    Args:
        seen: `(n,)` when, or in which place, each entry was last seen; of equals the later entry
            counts as newer.
        users: `(n,)` owner of each entry, in increasing order.
    """
    newest_first = np.lexsort((-np.arange(len(seen)), -seen, users))
    starts = np.searchsorted(users, users)
    ranks = np.empty(len(seen), dtype=np.int64)
    ranks[newest_first] = np.arange(len(seen)) - starts[newest_first]
    return ranks
