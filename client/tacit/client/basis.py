"""What scores are made of: the confidence gate from model to rules to popularity to nothing.

Each basis scores every item, and splits a score into the shares of a history's entries, exactly:
the model by its read-out, the rule because a sum over shared categories is a sum over entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tacit.client.categories import CategoryIndex
from tacit.client.decide import (
    ReleasedModel,
    ScoreEstimate,
    attribution,
    attributions,
    base_score,
    estimate,
    scores,
)
from tacit.client.decide.confidence import confidence
from tacit.client.decision import Basis
from tacit.client.profile import History

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
RealArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

LEAST_CONFIDENCE = 0.005
"""A history must have removed this share of the uncertainty before the model speaks for it."""


class Scorer(Protocol):
    """Score items from entries of a history, additively."""

    def scores(self, items: IntArray, weights: FloatArray) -> FloatArray:
        """Score every item, `(n_items,)`."""
        ...

    def base(self, target: int) -> float:
        """Return what no entry accounts for."""
        ...

    def shares(self, items: IntArray, weights: FloatArray, target: int) -> FloatArray:
        """Return what each entry adds, `(n,)`; `base` and the shares add up to the score."""
        ...

    def many_shares(self, items: IntArray, weights: FloatArray, targets: IntArray) -> FloatArray:
        """Return `shares` of several targets, `(m, n)`."""
        ...


@dataclass(frozen=True, slots=True)
class ModelScorer:
    """A released model."""

    model: ReleasedModel

    def scores(self, items: IntArray, weights: FloatArray) -> FloatArray:
        """See `Scorer`."""
        return scores(self.model, items, weights)

    def base(self, target: int) -> float:
        """See `Scorer`."""
        return base_score(self.model, target)

    def shares(self, items: IntArray, weights: FloatArray, target: int) -> FloatArray:
        """See `Scorer`."""
        return attribution(self.model, items, weights, target)

    def many_shares(self, items: IntArray, weights: FloatArray, targets: IntArray) -> FloatArray:
        """See `Scorer`."""
        return attributions(self.model, items, weights, targets)


@dataclass(frozen=True, slots=True)
class CategoryScorer:
    """Score an item by the weight the history gives its categories, over the root of their number.

    Attributes:
        categories: of the catalogue.
    """

    categories: CategoryIndex

    def scores(self, items: IntArray, weights: FloatArray) -> FloatArray:
        """See `Scorer`."""
        liked = np.zeros(len(self.categories.numbers))
        for item, weight in zip(items, weights, strict=True):
            liked[self.categories.of(int(item))] += weight
        return self.categories.overlap(liked)

    def base(self, target: int) -> float:
        """See `Scorer`."""
        del target
        return 0.0

    def shares(self, items: IntArray, weights: FloatArray, target: int) -> FloatArray:
        """See `Scorer`."""
        own = self.categories.of(target)
        shared = [float(np.isin(self.categories.of(int(item)), own).sum()) for item in items]
        return np.asarray(weights * np.array(shared) / max(1, len(own)) ** 0.5, dtype=np.float64)

    def many_shares(self, items: IntArray, weights: FloatArray, targets: IntArray) -> FloatArray:
        """See `Scorer`."""
        rows = [self.shares(items, weights, int(target)) for target in targets]
        return np.array(rows, dtype=np.float64).reshape(len(targets), len(items))


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of the whole catalogue, and what they are made of.

    Attributes:
        estimate: of the score of every item; exact for all but large catalogues.
        basis: which of the four.
        confidence: in [0, 1]; 0 without a model.
        scorer: splits scores; None where no entry of the history plays a part.
    """

    estimate: ScoreEstimate
    basis: Basis
    confidence: float
    scorer: Scorer | None

    def best_first(self, allowed: BoolArray, count: int) -> RealArray:
        """Return scores, `(n_items,)`, that are exact for the best `count` of the allowed items."""
        self.estimate.settle(allowed, count)
        return self.estimate.values


def score(
    past: History, model: ReleasedModel | None, categories: CategoryIndex, n_items: int
) -> Scored:
    """Score with the best basis that knows something about this person.

    The model, if a history taught it enough; else categories shared with the history; else the
    model's popularity; else nothing, which leaves the order of the catalogue.
    """
    items, weights = past.items, past.weights
    known = confidence(model, items, weights) if model is not None and len(items) else 0.0
    if model is not None and known >= LEAST_CONFIDENCE:
        scorer = ModelScorer(model)
        return Scored(estimate(model, items, weights), "model", known, scorer)
    if len(items):
        by_categories = CategoryScorer(categories)
        values = by_categories.scores(items, weights)
        if bool(np.any(values > 0.0)):
            return Scored(_exact(values), "rule", known, by_categories)
    if model is not None:
        return Scored(_exact(model.popularity), "popular", known, None)
    return Scored(_exact(np.zeros(n_items)), "fallback", 0.0, None)


def _exact(values: RealArray) -> ScoreEstimate:
    return ScoreEstimate(values, None, lambda items: values[items].astype(np.float64))


def scorer_of(
    basis: Basis, model: ReleasedModel | None, categories: CategoryIndex
) -> Scorer | None:
    """Return the scorer a decision of some basis was made with."""
    if basis == "model" and model is not None:
        return ModelScorer(model)
    return CategoryScorer(categories) if basis == "rule" else None


def similarity_vectors(
    model: ReleasedModel | None, categories: CategoryIndex, items: IntArray
) -> FloatArray:
    """Return rows whose cosines say how alike items are: their factors, else their categories."""
    if model is not None:
        return model.rows.take(items)
    lengths = [len(categories.of(int(item))) for item in items]
    numbers = np.concatenate([categories.of(int(item)) for item in items] or [items])
    columns = np.unique(numbers, return_inverse=True)[1]
    hot = np.zeros((len(items), int(columns.max()) + 1 if len(columns) else 1))
    hot[np.repeat(np.arange(len(items)), lengths), columns] = 1.0
    return hot
