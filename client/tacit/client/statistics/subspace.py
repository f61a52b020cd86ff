"""Statistic `subspace/1`: one user's share of a step of private subspace iteration.

The user's row of the sketch `A V = sum_u y_u (V^T y_u)^T`. It is also the negative gradient of the
linear auto-encoder loss `-1/2 ||V^T y_u||^2` with respect to `V`, so a round is one step of DP-SGD
with one user per sample; `tests/test_opacus_equivalence.py` holds both against each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.profiles import Profiles
from tacit.client.statistics.segments import project, public_array, public_weights, unit_rows
from tacit.privacy.quantize import RowBlocks

NAME = "subspace/1"


def subspace(
    profiles: Profiles,
    context: Mapping[str, npt.NDArray[np.floating]],
    parameters: Mapping[str, float | int],
) -> RowBlocks:
    """Compute `y_u (V^T y_u)^T`, `y_u = (w * x_u) / ||w * x_u||`, for each user.

    `||y_u|| = 1`, so the Euclidean norm of the contribution is `||V^T y_u||`, and clipping the
    whole contribution to `C` is clipping that projection. The server centres `V` such that
    `V^T (w * pi) = 0`: an average profile then projects to zero and spends none of the norm.

    Args:
        profiles: the batch; empty profiles yield the zero vector.
        context: `basis` `(n_items, k)`, the centred `V`, and `item_weights` `(n_items,)`,
            above zero.
        parameters: not used.

    Returns:
        Blocks of width `k` over `n_items` rows, only rows of items in the profile.

    Raises:
        BadContext: an array of the context is missing or does not fit the catalogue.
    """
    del parameters
    basis = public_array(context, "basis", (profiles.n_items, None))
    item_weights = public_weights(context, profiles.n_items)
    rows = unit_rows(profiles, item_weights)
    projected = project(profiles, rows, basis)
    return RowBlocks(
        indptr=profiles.indptr,
        rows=profiles.items,
        values=rows[:, np.newaxis] * projected[profiles.users],
        n_rows=profiles.n_items,
    )
