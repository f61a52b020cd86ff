"""The best linear guess of which canaries were in, from every noised sum of a training.

What the auditor sees of round t, less what the ordinary users sent, is ``V_t^T s + noise``: s are
the coins and row i of V_t is what canary i would send, known exactly given the round's context.
Over all rounds the information about s is ``A = sum_t V_t V_t^T / sigma_t^2`` with
``b = sum_t V_t seen_t / sigma_t^2``, and the posterior mean of fair coins in Gaussian
approximation is ``1/2 + (A + 4 I)^-1 (b - A / 2)``. Canaries mostly have coordinates of their own,
so A is diagonal plus a product of low rank, and nothing of size m by m is formed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.privacy.quantize import IntegerBlocks

FloatArray = npt.NDArray[np.float64]

_PRECISION = 4.0  # of a fair coin: one over its variance


class CanaryEvidence:
    """Gathers what each round says about each canary's coin.

    Args:
        n_canaries: m.
    """

    def __init__(self, n_canaries: int) -> None:
        self.own = np.zeros(n_canaries)  # diagonal of A from coordinates no other canary touches
        self._shared: list[FloatArray] = []
        self._centred = np.zeros(n_canaries)  # b - A / 2
        self._inner: FloatArray | None = None  # of Woodbury's formula; costly, so kept

    def add(self, sent: IntegerBlocks, seen: npt.NDArray[np.int64], sigma: float) -> None:
        """Add one round.

        Args:
            sent: what each canary would send in it.
            seen: ``(length,)`` the noised sum less what the others sent.
            sigma: standard deviation of the noise it must have.
        """
        self._inner = None
        users = np.repeat(np.arange(sent.n_users), np.diff(sent.indptr))
        values = sent.values / sigma
        touched = np.bincount(sent.rows, minlength=sent.n_rows)
        at = seen.reshape(sent.n_rows, sent.width)[sent.rows] / sigma
        alone = touched[sent.rows] == 1
        squares = np.einsum("ij,ij->i", values[alone], values[alone])
        products = np.einsum("ij,ij->i", values[alone], at[alone])
        self.own += np.bincount(users[alone], squares, minlength=sent.n_users)
        self._centred += np.bincount(users[alone], products - squares / 2.0, minlength=sent.n_users)
        rows = np.flatnonzero(touched > 1)
        if not len(rows):
            return
        place = np.full(sent.n_rows, -1)
        place[rows] = np.arange(len(rows))
        dense = np.zeros((sent.n_users, len(rows), sent.width))
        dense[users[~alone], place[sent.rows[~alone]]] = values[~alone]
        matrix = dense.reshape(sent.n_users, -1)
        common = seen.reshape(sent.n_rows, sent.width)[rows].reshape(-1) / sigma
        self._centred += matrix @ (common - matrix.sum(axis=0) / 2.0)
        self._shared.append(matrix)

    def information(self) -> FloatArray:
        """Return ``mu^2`` of each canary, ``(m,)``: what its coin shifts, in noise."""
        matrix = self._matrix()
        return np.asarray(self.own + np.sum(matrix * matrix, axis=1), dtype=np.float64)

    def scores(self) -> FloatArray:
        """Return the posterior mean of each coin less one half, ``(m,)``."""
        return self._solve(self._centred[:, np.newaxis])[:, 0]

    def simulated_scores(
        self, coins: FloatArray, noise_scale: float, rng: np.random.Generator
    ) -> FloatArray:
        """Return scores as they would be for these coins and noise of another scale.

        Args:
            coins: ``(m, runs)`` 0 or 1.
            noise_scale: standard deviation of the noise over what it must be.
            rng: of the simulation.
        """
        matrix, runs = self._matrix(), coins.shape[1]
        off_centre = coins - 0.5
        own_noise = np.sqrt(self.own)[:, np.newaxis] * rng.normal(size=coins.shape)
        shared_noise = rng.normal(size=(matrix.shape[1], runs))
        seen = self.own[:, np.newaxis] * off_centre + noise_scale * own_noise
        seen += matrix @ (matrix.T @ off_centre + noise_scale * shared_noise)
        return self._solve(seen)

    def _solve(self, right: FloatArray) -> FloatArray:
        """Solve ``(D + U U^T) x = right`` with D the diagonal (Woodbury)."""
        matrix = self._matrix()
        inverse = 1.0 / (self.own + _PRECISION)[:, np.newaxis]
        scaled = inverse * right
        if not matrix.shape[1]:
            return scaled
        inner = self._inner
        if inner is None:
            inner = np.eye(matrix.shape[1]) + matrix.T @ (inverse * matrix)
            inner = self._inner = np.asarray(np.linalg.inv(inner), dtype=np.float64)
        return np.asarray(scaled - inverse * (matrix @ (inner @ (matrix.T @ scaled))))

    def _matrix(self) -> FloatArray:
        if len(self._shared) > 1:
            self._shared = [np.hstack(self._shared)]
        return self._shared[0] if self._shared else np.zeros((len(self.own), 0))
