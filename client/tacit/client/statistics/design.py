"""Design rows: what one user's history says about a declared target, bounded by construction.

Only operations that IEEE 754 rounds correctly are used, element by element, so a user's rows are
bit for bit the same alone and in a batch. That is why features are squashed by `bounded` and not
by a logarithm, whose last bit differs between processors and vector lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadContext, BadProfile

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def bounded(amount: FloatArray, scale: float) -> FloatArray:
    """Map amounts of zero or more to [-1, 1): `(x - s) / (x + s)`, zero at the public scale `s`.

    Equal steps of the result are about equal ratios of the amount, as with a logarithm.

    Args:
        amount: any shape, finite, at least 0.
        scale: a typical amount, above 0.
    """
    # Half the range: beyond it x + s could overflow, and the quotient is 1 to the last bit.
    held = np.minimum(amount, 1e300)
    return np.asarray((held - scale) / (held + scale), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class DesignRows:
    """Hold the regression rows of a batch of users, in user order.

    Attributes:
        indptr: `(n_users + 1,)`; user `u` owns the rows `indptr[u]:indptr[u + 1]`.
        features: `(m, d)` in [-1, 1]; the first column is the constant 1.
        targets: `(m,)` in [0, 1].
        weights: `(m,)` in (0, 1].
        blocks: `(m,)` regression that each row belongs to, in `[0, n_blocks)`.
        n_blocks: number of regressions; one, or one an action.
    """

    indptr: IntArray
    features: FloatArray
    targets: FloatArray
    weights: FloatArray
    blocks: IntArray
    n_blocks: int

    def __post_init__(self) -> None:
        """Check every invariant once.

        Raises:
            BadProfile: an array has the wrong shape or range, or is not finite.
        """
        rows = len(self.features)
        if self.features.ndim != 2 or self.features.shape[1] < 1:
            raise BadProfile(f"expected features (m, d), got shape {self.features.shape}")
        if any(c.shape != (rows,) for c in (self.targets, self.weights, self.blocks)):
            raise BadProfile("expected one target, weight and block per row")
        if len(self.indptr) < 1 or self.indptr[0] != 0 or self.indptr[-1] != rows:
            raise BadProfile("expected indptr to rise from 0 to the number of rows")
        if bool(np.any(np.diff(self.indptr) < 0)):
            raise BadProfile("expected indptr to rise from 0 to the number of rows")
        # Written so that NaN fails too.
        if not bool(np.all(np.abs(self.features) <= 1.0)):
            raise BadProfile("expected finite features in [-1, 1]")
        if not bool(np.all(self.features[:, 0] == 1.0)):
            raise BadProfile("expected the first feature to be the constant 1")
        if not bool(np.all((self.targets >= 0.0) & (self.targets <= 1.0))):
            raise BadProfile("expected finite targets in [0, 1]")
        if not bool(np.all((self.weights > 0.0) & (self.weights <= 1.0))):
            raise BadProfile("expected finite weights in (0, 1]")
        if not bool(np.all((self.blocks >= 0) & (self.blocks < self.n_blocks))):
            raise BadProfile(f"expected blocks in [0, {self.n_blocks})")

    @property
    def n_users(self) -> int:
        """Count the users of the batch."""
        return len(self.indptr) - 1

    @property
    def users(self) -> IntArray:
        """Give the owning user of each row, `(m,)`."""
        return np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(self.indptr))


def rows_of(
    users: IntArray,
    n_users: int,
    features: FloatArray,
    targets: FloatArray,
    *,
    weights: FloatArray | None = None,
    blocks: IntArray | None = None,
    n_blocks: int = 1,
) -> DesignRows:
    """Group rows by user; rows of one user keep their order.

    Args:
        users: `(m,)` owner of each row.
        n_users: users in the batch; those without rows get none.
        features: `(m, d)`.
        targets: `(m,)`.
        weights: `(m,)`; `None` means ones.
        blocks: `(m,)`; `None` means the only block.
        n_blocks: number of regressions.
    """
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users, minlength=n_users)
    return DesignRows(
        indptr=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)]),
        features=features[order],
        targets=targets[order],
        weights=np.ones(len(users)) if weights is None else weights[order],
        blocks=np.zeros(len(users), dtype=np.int64) if blocks is None else blocks[order],
        n_blocks=n_blocks,
    )


def whole_parameter(
    parameters: Mapping[str, float | int], name: str, smallest: int, largest: int
) -> int:
    """Take a whole number out of a round's parameters.

    Raises:
        BadContext: it is missing, not whole or out of range.
    """
    value = parameters.get(name)
    if value is None or not smallest <= value <= largest or value != int(value):
        raise BadContext(
            f"expected parameter {name!r}, a whole number from {smallest} to {largest}"
        )
    return int(value)
