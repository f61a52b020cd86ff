"""Ranking: from a history and, if there is one, a model to scored items with their sources.

Nothing here reads the store or the network; the same inputs give the same ranking.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.catalogue import Catalogue
from tacit.client.decide import ReleasedModel, scores
from tacit.client.decision import Source
from tacit.client.profile import History


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scored items.

    Attributes:
        order: `(n,)` catalogue indices, best first.
        scores: `(n_items,)` score of every item of the catalogue.
        source: where the scores come from.
    """

    order: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    source: Source


def rank(
    catalogue: Catalogue,
    past: History,
    model: ReleasedModel | None,
    exclude: Collection[str],
    k: int,
) -> Ranking:
    """Rank the catalogue for one user.

    With a model, the history is folded into it; without a history that is the model's popularity.
    Without a model, items share categories with the history or come in catalogue order. Items of
    the history and excluded ones are masked. If that leaves nothing, items that were only looked
    at come back, so that a screen is not blank while anything may be shown; what was bought or
    excluded never does.

    Args:
        catalogue: what there is.
        past: the permitted local history.
        model: the installed model, or None.
        exclude: item ids not to show.
        k: most items to return, at least 0.
    """
    source: Source
    if model is None:
        values, source = _by_categories(catalogue, past), "fallback"
    else:
        values = scores(model, past.items, past.weights)
        source = "model" if len(past.items) else "popular"
    never = np.zeros(len(catalogue), dtype=np.bool_)
    banned = {index for item in exclude if (index := catalogue.index(item)) is not None}
    never[list(banned | past.owned)] = True
    masked = never.copy()
    masked[past.items] = True
    order = _best(values, masked, k)
    if len(order) == 0:
        order = _best(values, never, k)
    return Ranking(order, values, source)


def shared_categories(catalogue: Catalogue, past: History, index: int) -> tuple[str, ...]:
    """Return the categories an item shares with the history, in the item's own order."""
    known = {c for i in past.items for c in catalogue.items[int(i)].categories}
    return tuple(c for c in catalogue.items[index].categories if c in known)


def _best(
    values: npt.NDArray[np.float64], masked: npt.NDArray[np.bool_], k: int
) -> npt.NDArray[np.int64]:
    allowed = np.flatnonzero(~masked)
    # Stable: equal scores keep catalogue order, so the answer does not flicker.
    return allowed[np.argsort(-values[allowed], kind="stable")[:k]].astype(np.int64)


def _by_categories(catalogue: Catalogue, past: History) -> npt.NDArray[np.float64]:
    """Score items by the weight the history gives to their categories, per category, `(n,)`."""
    liked: defaultdict[str, float] = defaultdict(float)
    for index, weight in zip(past.items, past.weights, strict=True):
        for category in catalogue.items[int(index)].categories:
            liked[category] += float(weight)
    return np.array(
        [
            sum(liked[c] for c in item.categories) / max(1, len(item.categories)) ** 0.5
            for item in catalogue.items
        ],
        dtype=np.float64,
    )
