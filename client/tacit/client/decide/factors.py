"""Fold one user's history into released item factors, on the device, and say why.

The second read-out: matrix factorisation of implicit feedback (Hu, Koren, Volinsky 2008,
Collaborative Filtering for Implicit Feedback Datasets). An item `j` has a public factor `z_j`; the
user's factor is the ridge regression of "1 on what I have, 0 on the rest" and stays on the device:

    u = H^-1 sum_i x_i z_i,   H = a Z^T Z + sum_i x_i z_i z_i^T + l I,   score_j = z_j^T u

(their equation 4, with `x_i` the weight of item `i` in the history and `a` the weight of an item
that is not in it). At the user's own `H` a score is a sum over the history, `x_i z_j^T H^-1 z_i`
(their section 5): `factor_attribution` returns exactly these terms. Nothing here opens a socket.
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

FACTOR_ARRAYS = frozenset({"popularity", "item_factors", "ridge", "unseen_weight"})


@dataclass(frozen=True, slots=True)
class FactorModel:
    """Hold released item factors and what the read-out precomputes from them.

    Attributes:
        popularity: `(n_items,)` item distribution, above zero; ranks for an empty history.
        rows: `(n_items, d)` factor z of each item.
        ridge: l, weight of `|u|^2`, above zero.
        unseen_weight: a, weight of an item outside the history, above zero.
        gramian: `(d, d)` `a Z^T Z + l I`, the part of H that is the same for everyone.
    """

    popularity: RealArray
    rows: ItemRows
    ridge: float
    unseen_weight: float
    gramian: FloatArray

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], folder: Path | None = None
    ) -> FactorModel:
        """Check released arrays and build a model.

        Args:
            arrays: `popularity` `(n_items,)`, `item_factors` `(n_items, d)`, `ridge` and
                `unseen_weight` `(1,)`.
            folder: where rows of a large catalogue are put; see `BlockedRows`.

        Raises:
            BadModel: an array is missing, misshapen, not finite, or not positive where it must be.
        """
        missing = FACTOR_ARRAYS - set(arrays)
        if missing:
            raise BadModel(f"expected model arrays {sorted(missing)}, got {sorted(arrays)}")
        popularity = item_vector(arrays["popularity"])
        factors = np.asarray(arrays["item_factors"])
        ridge = np.asarray(arrays["ridge"], dtype=np.float64)
        unseen = np.asarray(arrays["unseen_weight"], dtype=np.float64)
        if popularity.ndim != 1 or factors.ndim != 2 or factors.size == 0:
            raise BadModel("expected popularity (n_items,) and item_factors (n_items, d)")
        if len(factors) != len(popularity):
            raise BadModel(f"expected item_factors of {len(popularity)} rows, got {factors.shape}")
        for name, scalar in (("ridge", ridge), ("unseen_weight", unseen)):
            if scalar.shape != (1,):
                raise BadModel(f"expected {name} of shape (1,), got {scalar.shape}")
        for name, array in (
            ("popularity", popularity),
            ("ridge", ridge),
            ("unseen_weight", unseen),
        ):
            if not bool(np.all(np.isfinite(array))) or float(array.min()) <= 0.0:
                raise BadModel(f"expected finite values above zero in {name}")
        rows = FlatRows(real_rows(factors))
        product = rows.sum_blocks(lambda _, block: block.T @ block)
        if not bool(np.all(np.isfinite(product))):
            raise BadModel("expected finite item_factors")
        weight, penalty = float(unseen[0]), float(ridge[0])
        gramian = weight * product + penalty * np.eye(factors.shape[1])
        return cls(popularity, item_rows(rows.array, folder), penalty, weight, gramian)

    def to_arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the released arrays, as `from_arrays` takes them."""
        return {
            "popularity": self.popularity.astype(np.float64),
            "item_factors": self.item_factors,
            "ridge": np.array([self.ridge]),
            "unseen_weight": np.array([self.unseen_weight]),
        }

    @property
    def item_factors(self) -> FloatArray:
        """Every row, `(n_items, d)`; not for decisions, which take the rows they need."""
        return all_rows(self.rows)

    @property
    def n_items(self) -> int:
        """Count the items of the catalogue."""
        return len(self.popularity)


def factor_scores(model: FactorModel, items: IntArray, weights: FloatArray) -> FloatArray:
    """Score every item for one user, `(n_items,)`; popularity for an empty history.

    Raises:
        BadHistory: an item is unknown or repeated, or a weight is not finite and positive.
    """
    check_history(model.n_items, items, weights)
    if len(items) == 0:
        return np.array(model.popularity, dtype=np.float64)
    taste = _taste(model, items, weights)
    return np.asarray(model.rows.scan(taste), dtype=np.float64)


def factor_estimate(model: FactorModel, items: IntArray, weights: FloatArray) -> ScoreEstimate:
    """Estimate `factor_scores` for a history that is not empty; exact for all but large catalogues.

    Raises:
        BadHistory: an item is unknown or repeated, or a weight is not finite and positive.
    """
    check_history(model.n_items, items, weights)
    taste = _taste(model, items, weights)
    values, errors = model.rows.estimate(taste)
    return ScoreEstimate(values, errors, lambda targets: model.rows.take(targets) @ taste)


def factor_attribution(
    model: FactorModel, items: IntArray, weights: FloatArray, target_item: int
) -> FloatArray:
    """Split the score of one item into the shares of the history's events, `(n_history,)`.

    Post-condition: they sum to the score up to float rounding; dropping event `e` from the sum at
    the same H lowers the score by entry `e`.

    Raises:
        BadHistory: the history is not valid, or the target is not in the catalogue.
    """
    check_history(model.n_items, items, weights)
    if not 0 <= target_item < model.n_items:
        raise BadHistory(f"expected a target item in [0, {model.n_items}), got {target_item}")
    if len(items) == 0:
        return np.zeros(0)
    # H is symmetric, so one solve with the target's factor serves every event.
    reach = np.asarray(
        np.linalg.solve(
            _normal(model, items, weights), model.rows.take(np.array([target_item]))[0]
        ),
        dtype=np.float64,
    )
    return np.asarray(weights * (model.rows.take(items) @ reach), dtype=np.float64)


def _taste(model: FactorModel, items: IntArray, weights: FloatArray) -> FloatArray:
    """Compute the user's factor, `(d,)`."""
    own = model.rows.take(items).T @ weights
    return np.asarray(np.linalg.solve(_normal(model, items, weights), own), dtype=np.float64)


def _normal(model: FactorModel, items: IntArray, weights: FloatArray) -> FloatArray:
    """Compute H for a history, `(d, d)`."""
    own = model.rows.take(items)
    return np.asarray(model.gramian + own.T @ (own * weights[:, np.newaxis]), dtype=np.float64)
