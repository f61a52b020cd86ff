"""Statistics `churn_moments/1`, `intent_moments/1`, `bandit_moments/1`: linear regression, summed.

The sums of `phi phi^T` and `y phi` over users are sufficient for least squares; noising them is
sufficient-statistics perturbation (Vu and Slavkovic 2009, "Differential privacy for clinical trial
data"; Foulds, Geumlek, Welling, Chaudhuri 2016). A task states the target by the statistic's name,
so a client that does not know the target refuses the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.design import DesignRows
from tacit.client.statistics.errors import BadContext
from tacit.client.statistics.histories import Histories
from tacit.client.statistics.segments import segment_sum
from tacit.privacy.quantize import RowBlocks

MAX_FEATURES = 256
"""More would be tens of thousands of coordinates; such rows are not summed."""

RowsOf = Callable[[Histories, Mapping[str, float | int]], DesignRows]


def linear_moments(rows: DesignRows) -> RowBlocks:
    """Compute each user's weighted mean of `[phi phi^T, y phi]` over the user's rows.

    A user's rows are averaged, not summed, so every user has weight 1 however long the history is
    and whatever its weights; the mean is over all rows of the user, in all blocks together.
    Off-diagonal entries of the triangle carry a factor `sqrt(2)`, so the Euclidean norm of the
    triangle equals the Frobenius norm of the matrix.

    Clipping later scales a user's Gram matrix and moment by one factor, which is a smaller weight
    for that user in the same least-squares problem: it does not tilt the solution.

    Args:
        rows: the batch; users without rows yield the zero vector.

    Returns:
        One block a regression that the user has rows of, `n_blocks` in all, each of width
        `d (d + 1) / 2 + d`: the upper triangle in row-major order, then the moment.

    Raises:
        BadContext: there are more than `MAX_FEATURES` features.
    """
    d = rows.features.shape[1]
    if d > MAX_FEATURES:
        raise BadContext(f"expected at most {MAX_FEATURES} features, got {d}")
    users = rows.users
    keys, place = np.unique(users * rows.n_blocks + rows.blocks, return_inverse=True)
    share = rows.weights / segment_sum(rows.weights, users, rows.n_users)[users]
    upper, lower = np.triu_indices(d)
    scale = np.where(upper == lower, 1.0, np.sqrt(2.0))
    values = np.empty((len(keys), len(upper) + d), dtype=np.float64)
    for column, (i, j) in enumerate(zip(upper.tolist(), lower.tolist(), strict=True)):
        products = rows.features[:, i] * rows.features[:, j] * share
        values[:, column] = segment_sum(products, place, len(keys)) * scale[column]
    for i in range(d):
        products = rows.features[:, i] * rows.targets * share
        values[:, len(upper) + i] = segment_sum(products, place, len(keys))
    counts = np.bincount(keys // rows.n_blocks, minlength=rows.n_users)
    return RowBlocks(
        indptr=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)]),
        rows=keys % rows.n_blocks,
        values=values,
        n_rows=rows.n_blocks,
    )


def moments_statistic(
    rows_of_target: RowsOf,
) -> Callable[
    [Histories, Mapping[str, npt.NDArray[np.floating]], Mapping[str, float | int]], RowBlocks
]:
    """Make the statistic of one target: from histories to design rows to moments."""

    def statistic(
        histories: Histories,
        context: Mapping[str, npt.NDArray[np.floating]],
        parameters: Mapping[str, float | int],
    ) -> RowBlocks:
        """Compute the moments of one target; the context is not used.

        Raises:
            BadContext: a parameter of the target is missing or out of range.
        """
        del context
        return linear_moments(rows_of_target(histories, parameters))

    return statistic
