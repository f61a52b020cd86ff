"""Row-sparse vectors of a batch of users, before and after quantisation.

A contribution is a vector of ``n_rows * width`` coordinates, row-major. A user usually touches few
rows, so a batch is kept as CSR over rows: one block of ``width`` values for each row touched.
Coordinates in rows that are not listed are exactly zero.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.privacy._parameters import positive_integer
from tacit.privacy.errors import BadContribution

_CHUNK_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class RowBlocks:
    """Real-valued statistics of a batch of users, before quantisation.

    Attributes:
        indptr: ``(n_users + 1,)``; user ``u`` owns blocks ``indptr[u]:indptr[u + 1]``.
        rows: ``(nnz,)`` row of each block, strictly increasing within a user: a row listed twice
            would make the norm of the listed values differ from the norm of the vector.
        values: ``(nnz, width)`` in units of the statistic.
        n_rows: Rows of the whole vector.

    Raises:
        BadContribution: Shapes, dtypes or row order are not as stated.
    """

    indptr: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    n_rows: int

    def __post_init__(self) -> None:
        _check_layout(self.indptr, self.rows, self.values, self.n_rows, np.float64)

    @property
    def width(self) -> int:
        """Return the coordinates in one row."""
        return int(self.values.shape[1])

    @property
    def length(self) -> int:
        """Return the coordinates of the whole vector, ``n_rows * width``."""
        return self.n_rows * self.width

    @property
    def n_users(self) -> int:
        """Return the users in the batch."""
        return len(self.indptr) - 1


@dataclass(frozen=True, slots=True)
class IntegerBlocks:
    """Quantised contributions of a batch of users: `RowBlocks` with integer values.

    Attributes:
        indptr: ``(n_users + 1,)`` as in `RowBlocks`.
        rows: ``(nnz,)`` as in `RowBlocks`.
        values: ``(nnz, width)`` integers.
        n_rows: Rows of the whole vector.

    Raises:
        BadContribution: Shapes, dtypes or row order are not as stated.
    """

    indptr: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]
    n_rows: int

    def __post_init__(self) -> None:
        _check_layout(self.indptr, self.rows, self.values, self.n_rows, np.int64)

    @property
    def width(self) -> int:
        """Return the coordinates in one row."""
        return int(self.values.shape[1])

    @property
    def length(self) -> int:
        """Return the coordinates of the whole vector, ``n_rows * width``."""
        return self.n_rows * self.width

    @property
    def n_users(self) -> int:
        """Return the users in the batch."""
        return len(self.indptr) - 1


def dense(blocks: IntegerBlocks, user: int) -> npt.NDArray[np.int64]:
    """Lay out one user's contribution as the vector ``(length,)`` that is sent.

    Raises:
        BadContribution: There is no such user in the batch.
    """
    if not 0 <= user < blocks.n_users:
        raise BadContribution(f"expected a user below {blocks.n_users}, got {user}")
    mine = slice(int(blocks.indptr[user]), int(blocks.indptr[user + 1]))
    vector = np.zeros((blocks.n_rows, blocks.width), dtype=np.int64)
    vector[blocks.rows[mine]] = blocks.values[mine]
    return vector.reshape(-1)


def integer_sum(blocks: IntegerBlocks) -> npt.NDArray[np.int64]:
    """Add up the contributions of a batch, ``(length,)``.

    Integer addition is associative, so the result does not depend on the order of the users.
    Post-condition: equals the sum of `dense` over all users, exactly.
    """
    n_rows, width = blocks.n_rows, blocks.width
    if len(blocks.rows) == blocks.n_users * n_rows:  # rows increase, so each user lists every row
        whole = blocks.values.reshape(blocks.n_users, n_rows * width)
        return np.asarray(np.sum(whole, axis=0, dtype=np.int64))
    total = np.zeros((n_rows, width), dtype=np.int64)
    step = max(1, _CHUNK_VALUES // width)
    for start in range(0, len(blocks.rows), step):
        rows = blocks.rows[start : start + step]
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        firsts = np.flatnonzero(np.diff(ordered, prepend=-1))
        sums = np.add.reduceat(blocks.values[start : start + step][order], firsts, axis=0)
        total[ordered[firsts]] += sums
    return total.reshape(-1)


def _check_layout(
    indptr: npt.NDArray[Any],
    rows: npt.NDArray[Any],
    values: npt.NDArray[Any],
    n_rows: int,
    value_type: type[np.generic],
) -> None:
    """Raise `BadContribution` unless the arrays form a valid batch."""
    positive_integer("n_rows", n_rows)
    if indptr.dtype != np.int64 or rows.dtype != np.int64 or values.dtype != value_type:
        raise BadContribution(
            f"expected int64 indptr and rows and {value_type.__name__} values, got "
            f"{indptr.dtype}, {rows.dtype} and {values.dtype}"
        )
    if indptr.ndim != 1 or rows.ndim != 1 or values.ndim != 2 or values.shape[1] < 1:
        raise BadContribution(
            f"expected indptr (n_users + 1,), rows (nnz,), values (nnz, width), got shapes "
            f"{indptr.shape}, {rows.shape}, {values.shape}"
        )
    if len(indptr) < 1 or indptr[0] != 0 or indptr[-1] != len(rows) or len(values) != len(rows):
        raise BadContribution(
            f"expected indptr from 0 to nnz with one value block a row, got {len(rows)} rows and "
            f"{len(values)} blocks"
        )
    if np.any(np.diff(indptr) < 0):
        raise BadContribution("expected indptr to be non-decreasing")
    if len(rows) == 0:
        return
    if rows.min() < 0 or rows.max() >= n_rows:
        raise BadContribution(f"expected rows in [0, {n_rows})")
    falls = np.flatnonzero(np.diff(rows) <= 0) + 1
    if not np.isin(falls, indptr).all():
        raise BadContribution("expected rows to be strictly increasing within each user")
