"""Ranking metrics over the whole catalogue, with training items masked.

Every item that the user has not got in training competes; nothing is sampled, and nothing about
the test part reaches a ranking (sampling negatives outside the test items would leak it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import Profiles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.splits import Split

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Scorer = Callable[[IntArray, FloatArray], FloatArray]
"""Scores of all items from one user's training items and weights."""

METRICS = ("recall@20", "ndcg@100", "ndcg@10", "hit_rate@10")

_DEEPEST = 100
_DISCOUNTS = 1.0 / np.log2(np.arange(_DEEPEST) + 2.0)
_IDEAL = np.concatenate([np.zeros(1), np.cumsum(_DISCOUNTS)])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Hold the metrics of one model.

    Attributes:
        means: mean of each metric over the evaluated users, by name.
        per_user: `(n_evaluated, 4)` in the order of `METRICS`, for confidence intervals.
        users_evaluated: users with at least one test item.
        users_dropped: users without any.
    """

    means: dict[str, float]
    per_user: FloatArray
    users_evaluated: int
    users_dropped: int


def evaluate(
    split: Split, scorer: Scorer, on_users: Callable[[int], None] | None = None
) -> Evaluation:
    """Rank the whole catalogue for every user with test items.

    - recall@20: test items in the top 20, over `min(20, number of test items)`.
    - ndcg@k: binary gain, discount `1 / log2(rank + 1)`, over the best that is possible
      (Jarvelin and Kekalainen 2002).
    - hit_rate@10: whether any test item is in the top 10.

    Args:
        split: train and test parts.
        scorer: called with each user's training items and weights; must not see the test part.
        on_users: called with 1 after each user.

    Raises:
        BadExperiment: no user has test items, or scores have the wrong shape or are NaN.
    """
    rows: list[FloatArray] = []
    dropped = 0
    for user in range(split.train.n_users):
        train, weights = _entries(split.train, user)
        test, _ = _entries(split.test, user)
        if len(test) == 0:
            dropped += 1
        else:
            rows.append(_user_metrics(scorer(train, weights), train, test, split.train.n_items))
        if on_users is not None:
            on_users(1)
    if not rows:
        raise BadExperiment("expected at least one user with 5 items or more, got none to evaluate")
    per_user = np.stack(rows)
    means = [float(mean) for mean in np.mean(per_user, axis=0)]
    return Evaluation(dict(zip(METRICS, means, strict=True)), per_user, len(rows), dropped)


def _entries(profiles: Profiles, user: int) -> tuple[IntArray, FloatArray]:
    """Return one user's items and weights."""
    mine = slice(int(profiles.indptr[user]), int(profiles.indptr[user + 1]))
    return profiles.items[mine], profiles.weights[mine]


def _user_metrics(scores: FloatArray, train: IntArray, test: IntArray, n_items: int) -> FloatArray:
    """Compute all metrics of one user, in the order of `METRICS`."""
    if scores.shape != (n_items,) or bool(np.any(np.isnan(scores))):
        raise BadExperiment(f"expected {n_items} scores without NaN, got shape {scores.shape}")
    ranked = np.array(scores, dtype=np.float64)
    ranked[train] = -np.inf
    depth = min(_DEEPEST, n_items - len(train))
    # Ties are broken by item index, so that equal scores rank the same everywhere: everything
    # that ties with the last place is kept until the sort.
    last = np.partition(ranked, n_items - depth)[n_items - depth] if depth else np.inf
    contenders = np.flatnonzero(ranked >= last)
    top = contenders[np.lexsort((contenders, -ranked[contenders]))][:depth]
    relevant = np.zeros(n_items, dtype=np.bool_)
    relevant[test] = True
    hits = relevant[top].astype(np.float64)
    total = len(test)
    recall = float(np.sum(hits[:20])) / min(20, total)
    return np.array(
        [
            recall,
            float(hits @ _DISCOUNTS[: len(hits)]) / float(_IDEAL[min(_DEEPEST, total)]),
            float(hits[:10] @ _DISCOUNTS[: len(hits[:10])]) / float(_IDEAL[min(10, total)]),
            float(np.any(hits[:10] > 0.0)),
        ]
    )
