"""Ranking metrics over the whole catalogue, with items already seen masked.

Every item that the user has not got in training competes; nothing is sampled, and nothing about
the test part reaches a ranking (sampling negatives outside the test items would leak it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import Profiles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.splits import BoolArray, Split
from tacit.simulations.trained import FloatArray, OnProgress, Scorer

IntArray = npt.NDArray[np.int64]

METRICS = ("recall@20", "ndcg@100", "ndcg@10", "hit_rate@10", "mrr")

DEPTH = 100
"""Places of a ranking that are looked at one by one."""
SHOWN = 10
"""Places that a person would see: what coverage and tail share are about."""

_DISCOUNTS = 1.0 / np.log2(np.arange(DEPTH) + 2.0)
_IDEAL = np.concatenate([np.zeros(1), np.cumsum(_DISCOUNTS)])
_BATCH_SCORES = 2_000_000  # scores held at once; 16 MB


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Hold what one model's rankings were worth.

    Attributes:
        means: mean of each metric over the evaluated users, by name.
        per_user: `(n_evaluated, len(METRICS))` in the order of `METRICS`.
        users: `(n_evaluated,)` index of each evaluated user.
        users_dropped: users of the asked-for ones without test items.
        ranks: `(n_test,)` place of each entry of the test part, from 0; `DEPTH` stands for
            anything at or below it, and for entries of users who were not asked for.
        shown: `(n_evaluated, SHOWN)` items in the first places; -1 where there are no more.
    """

    means: dict[str, float]
    per_user: FloatArray
    users: IntArray
    users_dropped: int
    ranks: IntArray
    shown: IntArray

    @property
    def users_evaluated(self) -> int:
        """Count the users with at least one test item."""
        return len(self.users)


def evaluate(
    split: Split,
    scorer: Scorer,
    on_progress: OnProgress | None = None,
    *,
    among: BoolArray | None = None,
) -> Evaluation:
    """Rank the whole catalogue for every user with test items.

    - recall@20: test items in the top 20, over `min(20, number of test items)`.
    - ndcg@k: binary gain, discount `1 / log2(rank + 1)`, over the best that is possible
      (Jarvelin and Kekalainen 2002).
    - hit_rate@10: whether any test item is in the top 10.
    - mrr: one over the rank of the best test item, however low it is.

    Equal scores rank by item index, so that they rank the same everywhere.

    Args:
        split: train and test parts.
        scorer: called with batches of `split.fold_in`; must not see the test part.
        on_progress: told the share of users done.
        among: `(n_users,)` users to evaluate; `None` for all.

    Raises:
        BadExperiment: no user has test items, or scores have the wrong shape or are not finite.
    """
    n_tests = np.diff(split.test.indptr)
    asked = np.ones(len(n_tests), dtype=np.bool_) if among is None else among
    users = np.flatnonzero(asked & (n_tests > 0))
    if len(users) == 0:
        raise BadExperiment(
            "expected at least one user with held-out items (the random split takes them from "
            "users with 5 items or more), got none to evaluate"
        )
    ranks = np.full(len(split.test.items), DEPTH, dtype=np.int64)
    best = np.zeros(len(users))
    shown = np.full((len(users), SHOWN), -1, dtype=np.int64)
    size = max(1, _BATCH_SCORES // split.test.n_items)
    for start in range(0, len(users), size):
        batch = users[start : start + size]
        scores = masked_scores(split, scorer, batch)
        rows, entries = entries_of(split.test, batch)
        places, top = _places(scores)
        ranks[entries] = places[rows, split.test.items[entries]]
        shown[start : start + len(batch)] = top
        best[start : start + len(batch)] = _best_rank(scores, rows, split.test.items[entries])
        if on_progress is not None:
            on_progress((start + len(batch)) / len(users))
    per_user = user_metrics(split.test, ranks, users)
    per_user = np.column_stack([per_user, 1.0 / (best + 1.0)])
    means = {name: float(np.mean(per_user[:, column])) for column, name in enumerate(METRICS)}
    dropped = int(np.count_nonzero(asked)) - len(users)
    return Evaluation(means, per_user, users, dropped, ranks, shown)


def masked_scores(split: Split, scorer: Scorer, users: IntArray) -> FloatArray:
    """Score all items for some users; `-inf` for those already seen, `(len(users), n_items)`.

    Raises:
        BadExperiment: scores have the wrong shape or are not finite.
    """
    scores = np.array(scorer(take_users(split.fold_in, users)), dtype=np.float64)
    expected = (len(users), split.test.n_items)
    if scores.shape != expected or not bool(np.all(np.isfinite(scores))):
        raise BadExperiment(
            f"expected finite scores of shape {expected}, got shape {scores.shape}, or not finite"
        )
    rows, entries = entries_of(split.seen, users)
    scores[rows, split.seen.items[entries]] = -np.inf
    return scores


def user_metrics(
    test: Profiles, ranks: IntArray, users: IntArray, counted: BoolArray | None = None
) -> FloatArray:
    """Compute the rank-based metrics, all but `mrr`, `(len(users), 4)`.

    Args:
        test: the test part.
        ranks: `(n_test,)` place of each of its entries.
        users: users to compute them for; each must have a counted entry.
        counted: `(n_test,)` entries that count as relevant; `None` for all.
    """
    relevant = np.ones(len(ranks), dtype=np.bool_) if counted is None else counted

    def summed(values: FloatArray) -> FloatArray:
        return np.bincount(
            test.users[relevant], weights=values[relevant], minlength=test.n_users
        ).astype(np.float64)[users]

    total = summed(np.ones(len(ranks))).astype(np.int64)
    gains = np.concatenate([_DISCOUNTS, np.zeros(1)])[ranks]
    hits = summed((ranks < 10).astype(np.float64))
    return np.column_stack(
        [
            summed((ranks < 20).astype(np.float64)) / np.minimum(20, total),
            summed(gains) / _IDEAL[np.minimum(DEPTH, total)],
            summed(np.where(ranks < 10, gains, 0.0)) / _IDEAL[np.minimum(10, total)],
            (hits > 0).astype(np.float64),
        ]
    )


def take_users(profiles: Profiles, users: IntArray) -> Profiles:
    """Take the profiles of some users, in the order given."""
    rows, entries = entries_of(profiles, users)
    counts = np.bincount(rows, minlength=len(users))
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])
    return Profiles(indptr, profiles.items[entries], profiles.weights[entries], profiles.n_items)


def entries_of(profiles: Profiles, users: IntArray) -> tuple[IntArray, IntArray]:
    """Find the entries of some users: the position in `users`, and the entry, one pair each."""
    counts = np.diff(profiles.indptr)[users]
    rows = np.repeat(np.arange(len(users)), counts)
    offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, profiles.indptr[users][rows] + offsets


def _places(scores: FloatArray) -> tuple[IntArray, IntArray]:
    """Find the place of every item, up to `DEPTH`, and the items of the first `SHOWN` places."""
    n_rows, n_items = scores.shape
    depth = min(DEPTH, n_items)
    last = np.partition(scores, n_items - depth, axis=1)[:, n_items - depth]
    # Everything that ties with the last place is kept until the sort.
    rows, items = np.nonzero((scores >= last[:, np.newaxis]) & (scores > -np.inf))
    order = np.lexsort((items, -scores[rows, items], rows))
    rows, items = rows[order], items[order]
    starts: IntArray = np.searchsorted(rows, np.arange(n_rows)).astype(np.int64)
    place: IntArray = np.arange(len(rows), dtype=np.int64) - starts[rows]
    kept: BoolArray = place < DEPTH
    places = np.full((n_rows, n_items), DEPTH, dtype=np.int64)
    places[rows[kept], items[kept]] = place[kept]
    top = np.full((n_rows, SHOWN), -1, dtype=np.int64)
    first: BoolArray = place < SHOWN
    top[rows[first], place[first]] = items[first]
    return places, top


def _best_rank(scores: FloatArray, rows: IntArray, items: IntArray) -> FloatArray:
    """Find the full rank of each user's best test item, from 0, `(n_rows,)`."""
    values = scores[rows, items]
    order = np.lexsort((items, -values, rows))
    first = order[np.searchsorted(rows[order], np.arange(len(scores)))]
    value, item = values[first][:, np.newaxis], items[first][:, np.newaxis]
    before: BoolArray = (scores > value) | ((scores == value) & (np.arange(scores.shape[1]) < item))
    return np.asarray(np.sum(before, axis=1), dtype=np.float64)
