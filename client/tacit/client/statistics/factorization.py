"""Statistic `factorization/1`: one user's gradient of the item factors.

The user's factor `u` is folded in on the device from the public item factors `Z` (iALS; Hu, Koren,
Volinsky 2008, equation 4, see `tacit.client.decide.factors`) and never leaves it. At that `u` the
loss of this user,

    1/2 sum_i x_i (1 - z_i^T u)^2 + a/2 sum_j (z_j^T u)^2 + l/2 |u|^2,

has the gradient `-x_i (1 - z_i^T u) u` in the factor of each item of the history, plus
`a z_j^T (u u^T)` in the factor of *every* item. The second part needs nothing of the user but the
small matrix `u u^T`, so it is sent as such and the server multiplies it with the public factors:
no negatives are sampled, and a contribution is exact with `n_items + d` rows.

`tests/test_opacus_equivalence.py` holds the sum against Opacus' per-sample gradients of the torch
module in `tacit.simulations.factorization`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadContext
from tacit.client.statistics.linear_solve import solve_each
from tacit.client.statistics.profiles import FloatArray, Profiles
from tacit.client.statistics.segments import public_array, public_weights, segment_sum
from tacit.privacy.quantize import RowBlocks

NAME = "factorization/1"

MAX_FACTORS = 128
"""More would be millions of products for one user; a context that asks for them is refused."""


def factorization(
    profiles: Profiles,
    context: Mapping[str, npt.NDArray[np.floating]],
    parameters: Mapping[str, float | int],
) -> RowBlocks:
    """Compute the downhill direction of each user's loss in the trained factors, unclipped.

    It has `n_items + d` rows of width `k = d - 1`. Row `i` is `w_i x_i (1 - z_i^T u) D t` for items
    of the history and zero for others, `t` being `u` without its first entry (that of the
    popularity column, which is not trained); the last `d` rows are `gram_weight u (D t)^T`. `w` and
    `D` are public scales. All rows are multiples of `D t`, so this is one rank-one matrix.

    Args:
        profiles: the batch; empty profiles yield the zero vector.
        context: `item_factors` `(n_items, d)`, popularity column first; `gramian` `(d, d)`,
            `a Z^T Z + l I`; `item_weights` w `(n_items,)` and `factor_weights` D `(d - 1,)`, above
            zero.
        parameters: `gram_weight`, above zero.

    Returns:
        Blocks of width `d - 1` over `n_items + d` rows.

    Raises:
        BadContext: an array or a parameter is missing or out of range, or `gramian` is not
            positive definite.
    """
    factors = public_array(context, "item_factors", (profiles.n_items, None))
    size = factors.shape[1]
    if not 2 <= size <= MAX_FACTORS:
        raise BadContext(f"expected 2 to {MAX_FACTORS} factors, got {size}")
    gramian = public_array(context, "gramian", (size, size))
    item_weights = public_weights(context, profiles.n_items)
    scales = public_array(context, "factor_weights", (size - 1,))
    if float(scales.min()) <= 0.0:
        raise BadContext("expected values above zero in 'factor_weights'")
    gram_weight = float(parameters.get("gram_weight", 0.0))
    if not (np.isfinite(gram_weight) and gram_weight > 0.0):
        raise BadContext(f"expected a parameter 'gram_weight' above zero, got {gram_weight}")
    users = profiles.users
    own = factors[profiles.items]
    taste = fold_in(profiles, own, gramian)
    scaled = taste[:, 1:] * scales
    residual = 1.0 - _row_products(own, taste[users])
    strength = item_weights[profiles.items] * profiles.weights * residual
    rows = strength[:, np.newaxis] * scaled[users]
    gram = gram_weight * taste[:, :, np.newaxis] * scaled[:, np.newaxis, :]
    return _stack(profiles, rows, gram)


def fold_in(profiles: Profiles, own: FloatArray, gramian: FloatArray) -> FloatArray:
    """Fold every user of a batch into public item factors, `(n_users, d)`.

    Args:
        profiles: the batch.
        own: `(nnz, d)` factor of each entry's item.
        gramian: `(d, d)` part of the normal matrix that is the same for everyone.

    Raises:
        BadContext: the normal matrix is not positive definite.
    """
    size, users = own.shape[1], profiles.users
    normal = np.empty((profiles.n_users, size, size))
    weighted = own * profiles.weights[:, np.newaxis]
    for row in range(size):
        for column in range(row + 1):
            sums = segment_sum(weighted[:, row] * own[:, column], users, profiles.n_users)
            normal[:, row, column] = normal[:, column, row] = gramian[row, column] + sums
    taste = solve_each(normal, segment_sum(weighted, users, profiles.n_users))
    if not bool(np.all(np.isfinite(taste))):
        raise BadContext("expected a positive definite 'gramian'")
    return taste


def _row_products(left: FloatArray, right: FloatArray) -> FloatArray:
    """Compute the inner product of each pair of rows, adding columns strictly in order."""
    total = np.zeros(len(left))
    for column in range(left.shape[1]):
        total += left[:, column] * right[:, column]
    return total


def _stack(profiles: Profiles, rows: FloatArray, gram: FloatArray) -> RowBlocks:
    """Lay out each user's item rows, then the rows of the small matrix."""
    n_users, size, width = gram.shape
    indptr = profiles.indptr + size * np.arange(n_users + 1, dtype=np.int64)
    of_items = np.arange(len(profiles.items)) + size * profiles.users
    of_gram = np.repeat(indptr[1:] - size, size) + np.tile(np.arange(size, dtype=np.int64), n_users)
    values = np.empty((int(indptr[-1]), width))
    values[of_items], values[of_gram] = rows, gram.reshape(-1, width)
    positions = np.empty(len(values), dtype=np.int64)
    positions[of_items] = profiles.items
    positions[of_gram] = np.tile(profiles.n_items + np.arange(size, dtype=np.int64), n_users)
    return RowBlocks(indptr, positions, values, profiles.n_items + size)
