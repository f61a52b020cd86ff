"""The sampled-negatives protocol of the NCF papers: only for comparison with them.

Each user's one held-out item is ranked among 99 items drawn from those outside the user's
training and test parts (He et al. 2017, Neural Collaborative Filtering, section 4.1). Such figures
order methods unreliably (Krichene and Rendle 2020, On Sampled Metrics for Item Recommendation):
they are never this project's metric. The draw takes place here, after training, so it cannot leak;
code that draws training negatives outside train and test does (`tacit.simulations.leaks`).
"""

from __future__ import annotations

import numpy as np

from tacit.simulations.errors import BadExperiment
from tacit.simulations.metrics import entries_of, masked_scores
from tacit.simulations.splits import BoolArray, Split
from tacit.simulations.trained import Scorer

NEGATIVES = 99
_BATCH = 256


def sampled_metrics(
    split: Split, scorer: Scorer, seed: int, among: BoolArray | None = None
) -> dict[str, float]:
    """Compute HR@10 and NDCG@10 among 99 sampled negatives.

    Ties count against the held-out item by half of those that tie.

    Args:
        split: a leave-one-out split.
        scorer: the model.
        seed: public seed of the draw.
        among: `(n_users,)` users to evaluate; `None` for all.

    Raises:
        BadExperiment: a user has more than one held-out item, or nobody has 99 items unseen.
    """
    counts = np.diff(split.test.indptr)
    if int(counts.max(initial=0)) != 1:
        raise BadExperiment("the paper protocol needs one held-out item: --split leave-one-out")
    rng = np.random.default_rng([seed, 2])
    users = np.flatnonzero((counts == 1) & (True if among is None else among))
    hits: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for start in range(0, len(users), _BATCH):
        batch = users[start : start + _BATCH]
        scores = masked_scores(split, scorer, batch)
        rows, entries = entries_of(split.test, batch)
        target = scores[rows, split.test.items[entries]][:, np.newaxis]
        draws = rng.random(scores.shape)
        draws[scores == -np.inf] = 2.0
        draws[rows, split.test.items[entries]] = 2.0
        able = np.sum(draws < 1.0, axis=1) >= NEGATIVES
        if not bool(np.any(able)):
            continue
        chosen = np.argpartition(draws, NEGATIVES - 1, axis=1)[:, :NEGATIVES]
        negatives = np.take_along_axis(scores, chosen, axis=1)
        above = np.sum(negatives > target, axis=1) + np.sum(negatives == target, axis=1) / 2.0
        hits.append(np.asarray(above[able], dtype=np.float64))
    if not hits:
        raise BadExperiment(f"expected users with at least {NEGATIVES} items unseen, got none")
    rank = np.concatenate(hits)
    return {
        "sampled_hr@10": float(np.mean(rank < 10)),
        "sampled_ndcg@10": float(np.mean(np.where(rank < 10, 1.0 / np.log2(rank + 2.0), 0.0))),
    }
