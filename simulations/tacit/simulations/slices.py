"""Who and what a mean hides: popular and rare items, short and long histories, groups of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.simulations.metrics import METRICS, Evaluation, user_metrics
from tacit.simulations.splits import BoolArray, Split
from tacit.simulations.trained import FloatArray

_HEAD_SHARE = 0.2
_METRIC = "ndcg@100"


@dataclass(frozen=True, slots=True)
class Slices:
    """Hold NDCG@100 by slice, and what is shown in the first ten places.

    Attributes:
        head: over held-out items among the 20% of items with most training users.
        tail: over the other held-out items.
        light: over users with at most the median number of items in their history.
        heavy: over the other users.
        light_to_heavy: ratio of the two; `None` where one is empty or zero.
        groups: mean of each group of users, by label, where the data set names groups.
        group_ratio: smallest of the group means over the largest; `None` with fewer than two.
        coverage: share of the catalogue that is in anybody's first ten.
        tail_share: share of the first ten places that go to tail items.
    """

    head: float | None
    tail: float | None
    light: float | None
    heavy: float | None
    light_to_heavy: float | None
    groups: dict[str, float]
    group_ratio: float | None
    coverage: float
    tail_share: float

    def to_json(self) -> dict[str, Any]:
        """Return the slices as the JSON report shows them."""
        return {name: getattr(self, name) for name in self.__slots__} | {"metric": _METRIC}


@dataclass(frozen=True, slots=True)
class SliceGap:
    """Hold how far a private model's slices are from those of its non-private version.

    Attributes:
        light_to_heavy: difference of the ratios; `None` where either has none.
        group_ratio: likewise, of the group that is worst in the non-private version over its
            best one, in both, so that a change of sides cannot hide; `None` without groups.
        coverage: difference of the shares of the catalogue in anybody's first ten.
    """

    light_to_heavy: float | None
    group_ratio: float | None
    coverage: float

    def to_json(self) -> dict[str, Any]:
        """Return the differences as the JSON report shows them."""
        return {name: getattr(self, name) for name in self.__slots__}


def slice_gap(private: Slices, reference: Slices) -> SliceGap:
    """Compare a private model's slices with its non-private version's on the same split."""
    ratios: list[float | None] = []
    if len(reference.groups) > 1 and set(private.groups) == set(reference.groups):
        ranked = sorted(reference.groups, key=reference.groups.__getitem__)
        ratios = [
            _ratio(one.groups[ranked[0]], one.groups[ranked[-1]]) for one in (private, reference)
        ]
    return SliceGap(
        light_to_heavy=_difference(private.light_to_heavy, reference.light_to_heavy),
        group_ratio=_difference(*ratios) if ratios else None,
        coverage=private.coverage - reference.coverage,
    )


def slices(split: Split, evaluation: Evaluation, groups: tuple[str, ...] = ()) -> Slices:
    """Cut an evaluation into slices.

    Args:
        split: what was evaluated.
        evaluation: of a model on it.
        groups: label of each user of the split, empty labels left out; `()` for none.
    """
    in_head = head_items(split)
    values = evaluation.per_user[:, METRICS.index(_METRIC)]
    lengths = np.diff(split.fold_in.indptr)[evaluation.users]
    is_light = lengths <= np.median(lengths)
    light, heavy = _mean(values[is_light]), _mean(values[~is_light])
    by_group: dict[str, float] = {}
    if groups:
        labels = np.array(groups)[evaluation.users]
        for label in sorted({str(label) for label in labels.tolist() if label}):
            by_group[label] = float(np.mean(values[labels == label]))
    means = list(by_group.values())
    shown = evaluation.shown[evaluation.shown >= 0]
    return Slices(
        head=_item_slice(split, evaluation, in_head),
        tail=_item_slice(split, evaluation, ~in_head),
        light=light,
        heavy=heavy,
        light_to_heavy=_ratio(light, heavy),
        groups=by_group,
        group_ratio=_ratio(min(means), max(means)) if len(means) > 1 else None,
        coverage=len(np.unique(shown)) / split.test.n_items,
        tail_share=float(np.mean(~in_head[shown])) if len(shown) else 0.0,
    )


def head_items(split: Split) -> BoolArray:
    """Find the 20% of items with most training users, at least one, `(n_items,)`; ties by index."""
    counts = np.bincount(split.seen.items, minlength=split.seen.n_items)
    head = np.zeros(len(counts), dtype=np.bool_)
    number = max(1, int(_HEAD_SHARE * len(counts)))
    head[np.argsort(-counts, kind="stable")[:number]] = True
    return head


def _item_slice(split: Split, evaluation: Evaluation, wanted: BoolArray) -> float | None:
    """Average NDCG@100 over users with held-out items among the wanted, those alone relevant."""
    counted = wanted[split.test.items]
    have = np.bincount(split.test.users[counted], minlength=split.test.n_users) > 0
    users = evaluation.users[have[evaluation.users]]
    if len(users) == 0:
        return None
    table = user_metrics(split.test, evaluation.ranks, users, counted)
    return float(np.mean(table[:, METRICS.index(_METRIC)]))


def _mean(values: FloatArray | npt.NDArray[np.floating]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
