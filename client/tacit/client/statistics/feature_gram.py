"""Statistic `feature_gram/1`: how a profile spreads over public item features.

Features (genre, decade, category) are few, so their second moment costs little budget and gives
the subspace rounds a warm start that already serves items nobody has touched.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadContext
from tacit.client.statistics.profiles import Profiles
from tacit.client.statistics.segments import project, public_array, public_weights, unit_rows
from tacit.privacy.quantize import RowBlocks

NAME = "feature_gram/1"

MAX_FEATURES = 2048
"""More would be millions of products; a context that asks for them is not computed."""


def feature_gram(
    profiles: Profiles,
    context: Mapping[str, npt.NDArray[np.floating]],
    parameters: Mapping[str, float | int],
) -> RowBlocks:
    """Compute the upper triangle of `(Q^T y_u)(Q^T y_u)^T`, `y_u = (w * x_u) / ||w * x_u||`.

    Off-diagonal entries carry a factor `sqrt(2)`, so the Euclidean norm of the triangle equals the
    Frobenius norm of the matrix, `||Q^T y_u||^2`.

    Args:
        profiles: the batch; empty profiles yield the zero vector.
        context: `basis` `(n_items, f)`, the public features, centred by the server, and
            `item_weights` `(n_items,)`, above zero.
        parameters: not used.

    Returns:
        Dense blocks of width 1 over `f (f + 1) / 2` rows, the triangle in row-major order.

    Raises:
        BadContext: an array of the context is missing or does not fit the catalogue, or has more
            than `MAX_FEATURES` columns.
    """
    del parameters
    basis = public_array(context, "basis", (profiles.n_items, None))
    if basis.shape[1] > MAX_FEATURES:
        raise BadContext(f"expected at most {MAX_FEATURES} features, got {basis.shape[1]}")
    item_weights = public_weights(context, profiles.n_items)
    projected = project(profiles, unit_rows(profiles, item_weights), basis)
    upper, lower = np.triu_indices(basis.shape[1])
    scale = np.where(upper == lower, 1.0, np.sqrt(2.0))
    values = projected[:, upper] * projected[:, lower] * scale
    length = len(upper)
    return RowBlocks(
        indptr=np.arange(profiles.n_users + 1, dtype=np.int64) * length,
        rows=np.tile(np.arange(length, dtype=np.int64), profiles.n_users),
        values=values.reshape(-1, 1),
        n_rows=length,
    )
