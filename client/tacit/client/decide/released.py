"""One way to use any released model: which read-out it is follows from the arrays it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.client.decide import readout
from tacit.client.decide.estimate import ScoreEstimate
from tacit.client.decide.factors import (
    FactorModel,
    factor_attribution,
    factor_estimate,
    factor_scores,
)
from tacit.client.decide.readout import Model

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ReleasedModel = Model | FactorModel


def read_model(arrays: Mapping[str, npt.NDArray[Any]], folder: Path | None = None) -> ReleasedModel:
    """Check released arrays and build the model they form: item factors or taste directions.

    Args:
        arrays: by name.
        folder: where the rows of a large catalogue are put (`BlockedRows`); None for the system's
            folder for temporary files.

    Raises:
        BadModel: the arrays form neither.
    """
    if "item_factors" in arrays:
        return FactorModel.from_arrays(arrays, folder)
    return Model.from_arrays(arrays, folder)


def scores(model: ReleasedModel, items: IntArray, weights: FloatArray) -> FloatArray:
    """Score every item of the catalogue for one user, `(n_items,)`; higher is better.

    Args:
        model: a released model.
        items: `(n_history,)` distinct items of the local history, any order.
        weights: `(n_history,)` strength of each, above zero; recency may be folded in here.

    Raises:
        BadHistory: an item is unknown or repeated, or a weight is not finite and positive.
    """
    if isinstance(model, FactorModel):
        return factor_scores(model, items, weights)
    return readout.scores(model, items, weights)


def estimate(model: ReleasedModel, items: IntArray, weights: FloatArray) -> ScoreEstimate:
    """Estimate `scores` for a history that is not empty, `settle` making exact what matters.

    Exact from the start up to `MOST_FLAT` items.

    Raises:
        BadHistory: an item is unknown or repeated, or a weight is not finite and positive.
    """
    if isinstance(model, FactorModel):
        return factor_estimate(model, items, weights)
    return readout.estimate(model, items, weights)


def base_score(model: ReleasedModel, target_item: int) -> float:
    """Return the part of a non-empty history's score that no event of it accounts for."""
    if isinstance(model, FactorModel):
        return 0.0
    return float(model.item_scale[target_item] * model.popularity[target_item])


def attribution(
    model: ReleasedModel, items: IntArray, weights: FloatArray, target_item: int
) -> FloatArray:
    """Split the score of one item into the shares of the history's events, `(n_history,)`.

    Post-condition: `base_score + sum(attribution)` equals the item's score up to float rounding.

    Raises:
        BadHistory: the history is not valid, or the target is not in the catalogue.
    """
    if isinstance(model, FactorModel):
        return factor_attribution(model, items, weights, target_item)
    return readout.attribution(model, items, weights, target_item)


def attributions(
    model: ReleasedModel, items: IntArray, weights: FloatArray, target_items: IntArray
) -> FloatArray:
    """Return `attribution` of several items, `(n_targets, n_history)`.

    Raises:
        BadHistory: the history is not valid, or a target is not in the catalogue.
    """
    if isinstance(model, FactorModel) or len(items) == 0:
        rows = [attribution(model, items, weights, int(target)) for target in target_items]
        return np.array(rows, dtype=np.float64).reshape(len(target_items), len(items))
    return readout.attributions(model, items, weights, target_items)


def deletion_deltas(
    model: ReleasedModel, items: IntArray, weights: FloatArray, target_item: int
) -> FloatArray:
    """Compute how far the score of one item falls when each event is forgotten, `(n_history,)`.

    Unlike `attribution` this re-reads the shorter history. An event is worth citing as a reason
    when its delta is above zero.

    Raises:
        BadHistory: the history is not valid, or the target is not in the catalogue.
    """
    if not isinstance(model, FactorModel):
        return readout.deletion_deltas(model, items, weights, target_item)
    full = float(np.sum(factor_attribution(model, items, weights, target_item)))
    deltas = np.empty(len(items))
    for event in range(len(items)):
        kept = np.arange(len(items)) != event
        rest = factor_attribution(model, items[kept], weights[kept], target_item)
        deltas[event] = full - float(np.sum(rest))
    return deltas
