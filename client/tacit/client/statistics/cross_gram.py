"""Statistic `cross_gram/1`: how a profile's tastes go with where else it points.

The second moment of profiles between many public directions and a few strong ones. Compared with
`subspace/1`, whose rows are items, rows here are directions of a public kernel: what single items
far down the tail add to a profile is noise to a small cohort, and no longer spends its norm.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadContext
from tacit.client.statistics.profiles import FloatArray, Profiles
from tacit.client.statistics.segments import project, public_array, public_weights, unit_rows
from tacit.privacy.quantize import RowBlocks

NAME = "cross_gram/1"

MAX_DIRECTIONS = 2048
"""More would be a download of many megabytes; a context that holds them is not computed."""


def cross_gram(
    profiles: Profiles,
    context: Mapping[str, npt.NDArray[np.floating]],
    parameters: Mapping[str, float | int],
) -> RowBlocks:
    """Compute `p_u (R^T p_u)^T / ||p_u||`, `p_u = Q^T y_u`, `y_u = (w * x_u) / ||w * x_u||`.

    `p_u / ||p_u||` has length 1, so the Euclidean norm of the contribution is `||R^T p_u||`, and
    clipping the whole contribution to `C` is clipping that projection.

    Args:
        profiles: the batch; empty profiles, and those that do not project on `Q`, yield zeros.
        context: `basis` `(n_items, q)`, the directions Q, centred by the server, `turn` `(q, k)`,
            the strong directions R in coordinates of Q, and `item_weights` `(n_items,)`, above
            zero.
        parameters: not used.

    Returns:
        Dense blocks of width `k` over `q` rows.

    Raises:
        BadContext: an array of the context is missing or does not fit the catalogue, or the basis
            has more than `MAX_DIRECTIONS` columns.
    """
    del parameters
    basis = public_array(context, "basis", (profiles.n_items, None))
    n_rows = basis.shape[1]
    if n_rows > MAX_DIRECTIONS:
        raise BadContext(f"expected at most {MAX_DIRECTIONS} directions, got {n_rows}")
    turn = public_array(context, "turn", (n_rows, None))
    item_weights = public_weights(context, profiles.n_items)
    pointed = project(profiles, unit_rows(profiles, item_weights), basis)
    turned, lengths = _turned(pointed, turn)
    values = (pointed / lengths[:, np.newaxis])[:, :, np.newaxis] * turned[:, np.newaxis, :]
    return RowBlocks(
        indptr=np.arange(profiles.n_users + 1, dtype=np.int64) * n_rows,
        rows=np.tile(np.arange(n_rows, dtype=np.int64), profiles.n_users),
        values=values.reshape(-1, turn.shape[1]),
        n_rows=n_rows,
    )


def _turned(pointed: FloatArray, turn: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute `R^T p` and `||p||` (1 where p is zero), added up in one order for any batch."""
    turned = np.zeros((len(pointed), turn.shape[1]))
    squares = np.zeros(len(pointed))
    for direction, weights in enumerate(turn):
        turned += pointed[:, direction, np.newaxis] * weights
        squares += pointed[:, direction] * pointed[:, direction]
    return turned, np.where(squares > 0.0, np.sqrt(squares), 1.0)
