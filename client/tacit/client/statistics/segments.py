"""Per-user reductions whose result does not depend on who else is in the batch.

`numpy.sum`, `reduceat` and BLAS products choose their summation order from array shapes, so a
user's result could differ in its last bit between a batch of one and a batch of thousands.
`numpy.bincount` adds strictly in entry order, so here it cannot. Only operations that IEEE 754
rounds correctly (add, multiply, divide, square root) are used on a device for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadContext
from tacit.client.statistics.profiles import FloatArray, IntArray, Profiles


def segment_sum(values: FloatArray, users: IntArray, n_users: int) -> FloatArray:
    """Sum `values` per user, strictly in entry order.

    Args:
        values: `(nnz,)` or `(nnz, width)`.
        users: `(nnz,)` owner of each entry.
        n_users: users in the batch.

    Returns:
        `(n_users,)` or `(n_users, width)`; zero for users without entries.
    """
    if values.ndim == 1:
        return np.bincount(users, weights=values, minlength=n_users).astype(np.float64)
    sums = np.empty((n_users, values.shape[1]), dtype=np.float64)
    for column in range(values.shape[1]):
        sums[:, column] = np.bincount(users, weights=values[:, column], minlength=n_users)
    return sums


def unit_rows(profiles: Profiles, item_weights: FloatArray | None = None) -> FloatArray:
    """Weight each profile per item and scale it to unit Euclidean length.

    Args:
        profiles: the batch.
        item_weights: `(n_items,)` public weights, all above zero; `None` means ones.

    Returns:
        `(nnz,)` entries of `y_u = (w * x_u) / ||w * x_u||`.
    """
    users = profiles.users
    weighted = profiles.weights
    if item_weights is not None:
        weighted = weighted * item_weights[profiles.items]
    norms = np.sqrt(segment_sum(weighted * weighted, users, profiles.n_users))
    return weighted / norms[users]


def project(profiles: Profiles, rows: FloatArray, basis: FloatArray) -> FloatArray:
    """Project each user's sparse row on a public basis: `(n_users, width)`.

    Args:
        profiles: the batch, for the sparsity pattern.
        rows: `(nnz,)` entries of `y_u`.
        basis: `(n_items, width)`.
    """
    users = profiles.users
    sums = np.empty((profiles.n_users, basis.shape[1]), dtype=np.float64)
    for column in range(basis.shape[1]):
        products = rows * basis[:, column][profiles.items]
        sums[:, column] = np.bincount(users, weights=products, minlength=profiles.n_users)
    return sums


def public_array(
    context: Mapping[str, npt.NDArray[np.floating]], name: str, shape: tuple[int | None, ...]
) -> FloatArray:
    """Take one array out of a round's public context and check it.

    Args:
        context: the arrays that came with the round.
        name: key to take.
        shape: expected shape, `None` for any length.

    Raises:
        BadContext: the array is missing, has another shape, or holds NaN or infinity.
    """
    if name not in context:
        raise BadContext(f"expected a context array named {name!r}, got {sorted(context)}")
    array = np.asarray(context[name], dtype=np.float64)
    fits = len(array.shape) == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise BadContext(f"expected {name!r} of shape {shape}, got {array.shape}")
    if not bool(np.all(np.isfinite(array))):
        raise BadContext(f"expected finite values in {name!r}")
    return array


def public_weights(context: Mapping[str, npt.NDArray[np.floating]], n_items: int) -> FloatArray:
    """Take the item weights out of a round's public context, `(n_items,)`, all above zero.

    Raises:
        BadContext: they are missing, misshapen, not finite or not above zero.
    """
    weights = public_array(context, "item_weights", (n_items,))
    if float(weights.min()) <= 0.0:
        raise BadContext("expected values above zero in 'item_weights'")
    return weights
