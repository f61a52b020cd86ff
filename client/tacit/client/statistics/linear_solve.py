"""Solve one small system per user, bit for bit the same alone and in a batch.

LAPACK may order its sums by shape and machine; here every step is an element-wise operation that
IEEE 754 rounds correctly, over all users of a batch at once.
"""

from __future__ import annotations

import numpy as np

from tacit.client.statistics.profiles import FloatArray


def solve_each(matrices: FloatArray, right: FloatArray) -> FloatArray:
    """Solve `A_u x_u = b_u` for every user by Cholesky factors (Golub, Van Loan 2013, 4.2.3).

    Args:
        matrices: `(n_users, d, d)` symmetric and positive definite; overwritten.
        right: `(n_users, d)`.

    Returns:
        `(n_users, d)`; NaN where a matrix is not positive definite.
    """
    size = right.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        for column in range(size):
            pivot = np.sqrt(matrices[:, column, column])
            matrices[:, column:, column] /= pivot[:, np.newaxis]
            for later in range(column + 1, size):
                matrices[:, later:, later] -= (
                    matrices[:, later:, column] * matrices[:, later, column][:, np.newaxis]
                )
        solved = right.copy()
        for row in range(size):
            for known in range(row):
                solved[:, row] -= matrices[:, row, known] * solved[:, known]
            solved[:, row] /= matrices[:, row, row]
        for row in reversed(range(size)):
            for known in range(row + 1, size):
                solved[:, row] -= matrices[:, known, row] * solved[:, known]
            solved[:, row] /= matrices[:, row, row]
    return solved
