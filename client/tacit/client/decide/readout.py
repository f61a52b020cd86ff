"""Fold one user's history into a released model, on the device, and say why.

The model reads a profile as `x = n (pi + W u) + noise`, `Var(noise) = n diag(s)`, with taste
`u ~ N(0, diag(v))` and `n` the total weight of the history. The posterior mean of `u` is

    u = (n W^T S^-1 W + diag(1/v))^-1  W^T S^-1 (x - n pi),  S = diag(s)

(Bayesian linear regression; Bishop 2006, Pattern Recognition and Machine Learning, eqs. 2.113 to
2.117). More history means less shrinkage. The score of item `j` is `c_j (pi_j + W_j u)`; a release
may set the scale `c` to weigh the tail against popular items.

For a fixed `n` the posterior is linear in `x`, so a score is a base term plus one term for each
event of the history, exactly: `attribution` returns them. Nothing here opens a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.client.decide.errors import BadHistory, BadModel
from tacit.client.decide.estimate import ScoreEstimate
from tacit.client.decide.histories import check_history
from tacit.client.decide.rows import (
    FlatRows,
    ItemRows,
    all_rows,
    item_rows,
    item_vector,
    real_rows,
)

FloatArray = npt.NDArray[np.float64]
RealArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

_ARRAYS = {"popularity", "loadings", "prior_variance", "item_variance"}


@dataclass(frozen=True, slots=True)
class Model:
    """Hold a released model and what the read-out precomputes from it.

    Attributes:
        popularity: `(n_items,)` item distribution pi, above zero.
        rows: `(n_items, k)` effect W of each taste direction on each item's share.
        prior_variance: `(k,)` variance v of each direction over users, above zero.
        item_variance: `(n_items,)` noise variance s of each item per unit of history, above zero.
        item_scale: `(n_items,)` factor c of each item's score, above zero; ones unless released.
        precision: `(k, k)` `W^T S^-1 W`, evidence of one unit of history.
        drift: `(k,)` `W^T S^-1 pi`, what an average unit of history says.
    """

    popularity: RealArray
    rows: ItemRows
    prior_variance: FloatArray
    item_variance: RealArray
    item_scale: RealArray
    precision: FloatArray
    drift: FloatArray

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], folder: Path | None = None
    ) -> Model:
        """Check released arrays and build a model.

        Args:
            arrays: `popularity` and `item_variance` `(n_items,)`, `loadings` `(n_items, k)`,
                `prior_variance` `(k,)`; optionally `item_scale` `(n_items,)`.
            folder: where rows of a large catalogue are put; see `BlockedRows`.

        Raises:
            BadModel: an array is missing, misshapen, not finite, or not positive where it must be.
        """
        missing = _ARRAYS - set(arrays)
        if missing:
            raise BadModel(f"expected model arrays {sorted(missing)}, got {sorted(arrays)}")
        popularity = item_vector(arrays["popularity"])
        loadings = np.asarray(arrays["loadings"])
        variance = np.asarray(arrays["prior_variance"], dtype=np.float64)
        noise = item_vector(arrays["item_variance"])
        # Ones that nobody released take no memory.
        ones = np.broadcast_to(popularity.dtype.type(1.0), popularity.shape)
        scale = item_vector(arrays.get("item_scale", ones))
        if popularity.ndim != 1 or loadings.ndim != 2 or variance.ndim != 1:
            raise BadModel("expected popularity (n_items,), loadings (n_items, k), variance (k,)")
        for name, array in (("item_variance", noise), ("item_scale", scale)):
            if array.shape != popularity.shape:
                raise BadModel(f"expected {name} {popularity.shape}, got {array.shape}")
        if loadings.shape != (len(popularity), len(variance)) or loadings.size == 0:
            raise BadModel(
                f"expected loadings of shape ({len(popularity)}, {len(variance)}), "
                f"got {loadings.shape}"
            )
        for name, array in (
            ("popularity", popularity),
            ("prior_variance", variance),
            ("item_variance", noise),
            ("item_scale", scale),
        ):
            if not bool(np.all(np.isfinite(array))) or float(array.min()) <= 0.0:
                raise BadModel(f"expected finite values above zero in {name}")
        rows = FlatRows(real_rows(loadings))
        if not bool(np.isfinite(rows.sum_blocks(lambda _, block: np.abs(block).sum(axis=0))).all()):
            raise BadModel("expected finite loadings")

        def evidence(at: slice, block: FloatArray) -> FloatArray:
            scaled = block / noise[at, np.newaxis]
            return np.column_stack([scaled.T @ block, scaled.T @ popularity[at]])

        sums = rows.sum_blocks(evidence)
        return cls(
            popularity=popularity,
            rows=item_rows(rows.array, folder),
            prior_variance=variance,
            item_variance=noise,
            item_scale=scale,
            precision=sums[:, :-1],
            drift=sums[:, -1],
        )

    def to_arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the released arrays, as `from_arrays` takes them."""
        return {
            "popularity": self.popularity.astype(np.float64),
            "loadings": self.loadings,
            "prior_variance": self.prior_variance,
            "item_variance": self.item_variance.astype(np.float64),
            "item_scale": self.item_scale.astype(np.float64),
        }

    @property
    def loadings(self) -> FloatArray:
        """Every row, `(n_items, k)`; not for decisions, which take the rows they need."""
        return all_rows(self.rows)

    @property
    def n_items(self) -> int:
        """Count the items of the catalogue."""
        return len(self.popularity)


def scores(model: Model, items: IntArray, weights: FloatArray) -> FloatArray:
    """Score every item of the catalogue for one user, `(n_items,)`; higher is better.

    Args:
        model: a released model.
        items: `(n_history,)` distinct items of the local history, any order.
        weights: `(n_history,)` strength of each, above zero; recency may be folded in here.

    Raises:
        BadHistory: an item is unknown or repeated, or a weight is not finite and positive.
    """
    check_history(model.n_items, items, weights)
    if len(items) == 0:
        return np.asarray(model.item_scale * model.popularity, dtype=np.float64)
    shares = model.popularity + model.rows.scan(_taste(model, items, weights))
    return np.asarray(model.item_scale * shares, dtype=np.float64)


def estimate(model: Model, items: IntArray, weights: FloatArray) -> ScoreEstimate:
    """Estimate `scores` for a history that is not empty; exact for all but large catalogues.

    Raises:
        BadHistory: an item is unknown or repeated, or a weight is not finite and positive.
    """
    check_history(model.n_items, items, weights)
    taste = _taste(model, items, weights)
    values, errors = model.rows.estimate(taste)
    values += model.popularity
    values *= model.item_scale
    if errors is not None:
        errors *= model.item_scale

    def exact(targets: IntArray) -> FloatArray:
        shares = model.popularity[targets] + model.rows.take(targets) @ taste
        return np.asarray(model.item_scale[targets] * shares, dtype=np.float64)

    return ScoreEstimate(values, errors, exact)


def attribution(model: Model, items: IntArray, weights: FloatArray, target_item: int) -> FloatArray:
    """Split the score of one item into the shares of the history's events.

    Post-condition: the item's `item_scale * popularity` plus `sum(attribution)` equals its score up
    to float rounding, and dropping event `e` at fixed total weight lowers the score by entry `e`.

    Args:
        model: a released model.
        items: `(n_history,)` distinct items of the local history.
        weights: `(n_history,)` strength of each, above zero.
        target_item: item whose score is explained.

    Returns:
        `(n_history,)` shares, in the order of `items`; negative ones spoke against the item.

    Raises:
        BadHistory: the history is not valid, or the target is not in the catalogue.
    """
    check_history(model.n_items, items, weights)
    if not 0 <= target_item < model.n_items:
        raise BadHistory(f"expected a target item in [0, {model.n_items}), got {target_item}")
    if len(items) == 0:
        return np.zeros(0)
    # Posterior^-1 is symmetric, so one solve with the target's row serves every event.
    reach = np.asarray(
        np.linalg.solve(_posterior(model, weights), model.rows.take(np.array([target_item]))[0]),
        dtype=np.float64,
    )
    reach = reach * model.item_scale[target_item]
    return np.asarray(weights * (_evidence(model, items) @ reach), dtype=np.float64)


def attributions(
    model: Model, items: IntArray, weights: FloatArray, target_items: IntArray
) -> FloatArray:
    """Return `attribution` of several items from one solve, `(n_targets, n_history)`.

    Raises:
        BadHistory: the history is not valid, or a target is not in the catalogue.
    """
    check_history(model.n_items, items, weights)
    if len(target_items) == 0 or not 0 <= target_items.min() <= target_items.max() < model.n_items:
        raise BadHistory(f"expected target items in [0, {model.n_items})")
    rows = model.rows.take(target_items) * model.item_scale[target_items][:, np.newaxis]
    reach = np.linalg.solve(_posterior(model, weights), rows.T)
    return np.asarray((_evidence(model, items) @ reach).T * weights, dtype=np.float64)


def deletion_deltas(
    model: Model, items: IntArray, weights: FloatArray, target_item: int
) -> FloatArray:
    """Compute how far the score of one item falls when each event is forgotten.

    Unlike `attribution` this re-reads the shorter history, so the total weight falls too. An event
    is worth citing as a reason when its delta is above zero.

    Args:
        model: a released model.
        items: `(n_history,)` distinct items of the local history.
        weights: `(n_history,)` strength of each, above zero.
        target_item: item whose score is explained.

    Returns:
        `(n_history,)` score with the event minus score without it.

    Raises:
        BadHistory: the history is not valid, or the target is not in the catalogue.
    """
    full = float(np.sum(attribution(model, items, weights, target_item)))
    deltas = np.empty(len(items))
    for event in range(len(items)):
        kept = np.arange(len(items)) != event
        rest = attribution(model, items[kept], weights[kept], target_item)
        deltas[event] = full - float(np.sum(rest))
    return deltas


def _taste(model: Model, items: IntArray, weights: FloatArray) -> FloatArray:
    """Compute the posterior mean of taste, `(k,)`."""
    evidence = _evidence(model, items).T @ weights
    return np.asarray(np.linalg.solve(_posterior(model, weights), evidence), dtype=np.float64)


def _posterior(model: Model, weights: FloatArray) -> FloatArray:
    """Compute the posterior precision of taste for a history of these weights, `(k, k)`."""
    return float(np.sum(weights)) * model.precision + np.diag(1.0 / model.prior_variance)


def _evidence(model: Model, items: IntArray) -> FloatArray:
    """Compute what one unit of each event says about taste, `(n_history, k)`."""
    return model.rows.take(items) / model.item_variance[items][:, np.newaxis] - model.drift
