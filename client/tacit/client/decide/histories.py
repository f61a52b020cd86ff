"""Check a local history before it is folded into a model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.client.decide.errors import BadHistory


def check_history(
    n_items: int, items: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> None:
    """Raise unless items are known and distinct and weights finite and positive.

    Raises:
        BadHistory: saying what was expected.
    """
    if items.shape != weights.shape or items.ndim != 1:
        raise BadHistory(f"expected one weight per item, got {items.shape} and {weights.shape}")
    if len(items) == 0:
        return
    if int(items.min()) < 0 or int(items.max()) >= n_items:
        raise BadHistory(f"expected items in [0, {n_items})")
    if len(np.unique(items)) != len(items):
        raise BadHistory("expected distinct items")
    if not bool(np.all(np.isfinite(weights))) or float(weights.min()) <= 0.0:
        raise BadHistory("expected finite weights above zero")
