"""The posterior of tastes given everything released: Bayesian factor analysis of noised sums.

Tastes on the kernel's directions have second moment `A = L L^T + diag(psi)`, `psi` on the leading
directions only. Released are `A` itself on the leading ones, with noise `s`, and `A R_t` on all,
with noise `s_t`. Rows of `L` are Gaussian a priori, each column with variances of its own that are
shared by groups of rows of similar rank in the kernel. The variances are fitted, so columns and
rows that show no more than noise go to zero by themselves (automatic relevance determination;
MacKay 1994, Bishop 1999).

The posterior of `L` is approximated by independent Gaussians for its rows, found by coordinate
ascent (variational Bayes for matrix factorisation; Lim and Teh 2007, section 3): given all other
rows, the row of direction `j` is a ridge regression of row `j` of all that was released on the
other factors, uncertainty included. So what the Gram round and the sketches say of the same tastes
is weighed by their noise, and neither is used to undo the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.cross_grams import CrossGram
from tacit.server.coordinator.learners.protocol import FloatArray
from tacit.server.coordinator.learners.shrinkage import growing_groups, shrink_symmetric_blocks
from tacit.server.coordinator.learners.taste_gram import MeasuredGram, block_groups

_MOST_FACTORS = 24  # more than any budget resolves; superfluous ones go to zero
_STEPS = 40
_KEPT = 0.5  # of the former rows in every step: a full step of a symmetric product overshoots
_LEADING_GROUPS, _FEWEST_LEADING = 8, 6
_OTHER_GROUPS, _FEWEST_OTHERS = 20, 16
_OTHERS_SHARE = 0.5  # of a factor's strength is expected in the other rows, to start with
_LEAST_VARIANCE, _LEAST_SHAPE = 1e-9, 1e-9
_LEAST_STRENGTH = 1e-3
_LEAST_NOISE = 1e-4  # of the largest entry: sums without noise are told from singular ones


def taste_factor(
    measured: MeasuredGram,
    start: FloatArray,
    variances: FloatArray,
    sketches: Sequence[CrossGram] = (),
) -> FloatArray:
    """Estimate a factor `F` of the second moment of tastes, `A ~ F F^T`.

    Args:
        measured: the Gram round on the leading `q` directions.
        start: `(q, q)` a first estimate, such as `shrunk` gives; zeros end in zeros.
        variances: `(p,)` prior variances of the kernel's directions, the leading `q` first.
        sketches: cross-Gram rounds on all `p` directions; none is fine.

    Returns:
        `(p, r)`; r is 0 if there is nothing in `start`.
    """
    q, p = len(start), len(variances)
    values, axes = np.linalg.eigh(start)
    if values[-1] <= 0.0:
        return np.zeros((p, 0))
    kept = np.flatnonzero(values > _LEAST_STRENGTH * values[-1])[::-1][:_MOST_FACTORS]
    rows = _Rows(axes[:, kept] * np.sqrt(values[kept]), variances)
    # Without any factor, tastes are a multiple of what the kernel expects.
    expected = variances[:q]
    fit = float(np.diag(measured.values) @ expected) / float(expected @ expected)
    own = max(fit, 0.0) * expected
    for _ in range(_STEPS):
        rows.improve(measured, own, sketches)
        own = np.maximum(rows.averaged(np.diag(measured.values) - rows.squares()), 0.0)
    diagonal = own + rows.squares() - np.sum(rows.mean[:q] ** 2, axis=1)
    # What is common to many weak directions is no factor, but not nothing either.
    rest = measured.values - rows.mean[:q] @ rows.mean[:q].T - np.diag(diagonal)
    rest = shrink_symmetric_blocks(rest, measured.noise_std, block_groups(q))
    values, axes = np.linalg.eigh(rest + np.diag(diagonal))
    kept = np.flatnonzero(values > _LEAST_STRENGTH * max(float(values[-1]), _LEAST_VARIANCE))
    beyond = np.zeros((p, len(kept)))
    beyond[:q] = axes[:, kept] * np.sqrt(values[kept])
    return np.hstack([rows.mean, beyond])


class _Rows:
    """Hold the Gaussian posterior of the rows of `L`, and the variances of their prior.

    Attributes:
        mean: `(p, r)` posterior means.
        covariance: `(p, r, r)` posterior covariance of each row.
    """

    def __init__(self, factor: FloatArray, variances: FloatArray) -> None:
        """Start at a factor of the leading rows, `(q, r)`, the others at zero.

        Args:
            factor: `(q, r)`.
            variances: `(p,)` of the kernel. Rows fall off as their root does: the kernel is
                believed half.
        """
        q, width, n_rows = len(factor), int(factor.shape[1]), len(variances)
        self.mean = np.zeros((n_rows, width))
        self.mean[:q] = factor
        self.covariance = np.zeros((n_rows, width, width))
        self._q = q
        self._leading = growing_groups(q, _FEWEST_LEADING, _LEADING_GROUPS)
        others = growing_groups(n_rows - q, _FEWEST_OTHERS, _OTHER_GROUPS)
        self._groups = [*self._leading, *(q + group for group in others)]
        self._shape = np.sqrt(np.maximum(variances, _LEAST_SHAPE * variances[0]))
        strength = np.sum(factor**2, axis=0)
        self._prior = np.empty((n_rows, width))
        self._prior[q:] = np.outer(
            self._shape[q:], _OTHERS_SHARE * strength / float(np.sum(self._shape[q:]) or 1.0)
        )
        self._prior[:q] = np.outer(self._shape[:q], strength / float(np.sum(self._shape[:q])))
        self._refit(self._leading)

    def improve(
        self, measured: MeasuredGram, own: FloatArray, sketches: Sequence[CrossGram]
    ) -> None:
        """Take one step for all rows, turn the columns to principal axes, refit the priors."""
        q, width = self._q, self.mean.shape[1]
        leading = self.mean[:q]
        least = _LEAST_NOISE * float(np.max(np.abs(measured.values)))
        shared, targets = np.zeros((width, width)), np.zeros(self.mean.shape)
        for sketch in sketches:
            factors = leading.T @ sketch.turn
            weights = np.asarray(np.sum(sketch.turn**2, axis=1), dtype=np.float64)
            precision = 1.0 / max(sketch.noise_std, least) ** 2
            shared += precision * (factors @ factors.T + self._uncertainty(weights))
            targets += precision * sketch.rows @ factors.T
        evidence = np.broadcast_to(shared, self.covariance.shape).copy()
        precision = 1.0 / max(measured.noise_std, least) ** 2
        everyone: FloatArray = np.ones(q, dtype=np.float64)
        evidence[:q] += precision * (leading.T @ leading + self._uncertainty(everyone))
        targets[:q] += precision * (measured.values - np.diag(own)) @ leading
        diagonal = np.arange(width)
        evidence[:, diagonal, diagonal] += 1.0 / self._prior
        covariance = np.linalg.inv(evidence)
        moved = (covariance @ targets[:, :, np.newaxis])[:, :, 0]
        mean = _KEPT * self.mean + (1.0 - _KEPT) * moved
        turn = np.linalg.eigh(mean.T @ mean)[1][:, ::-1]
        self.mean = np.asarray(mean @ turn, dtype=np.float64)
        self.covariance = np.asarray(turn.T @ covariance @ turn, dtype=np.float64)
        self._refit(self._groups)

    def squares(self) -> FloatArray:
        """Compute the expected squared length of every leading row, `(q,)`."""
        uncertain = np.trace(self.covariance[: self._q], axis1=1, axis2=2)
        return np.asarray(np.sum(self.mean[: self._q] ** 2, axis=1) + uncertain, dtype=np.float64)

    def averaged(self, values: FloatArray) -> FloatArray:
        """Replace values of the leading rows by the mean of their group, `(q,)`."""
        means = np.empty_like(values)
        for group in self._leading:
            means[group] = np.mean(values[group])
        return means

    def _refit(self, groups: Sequence[npt.NDArray[np.intp]]) -> None:
        """Fit the level of each group's prior, whose shape over rows is the kernel's."""
        squares = self.mean**2 + np.diagonal(self.covariance, axis1=1, axis2=2)
        for group in groups:
            shape = self._shape[group, np.newaxis]
            level = np.mean(squares[group] / shape, axis=0) + _LEAST_VARIANCE
            self._prior[group] = shape * level

    def _uncertainty(self, weights: FloatArray) -> FloatArray:
        """Add up the covariances of the leading rows, each times a weight, `(r, r)`."""
        return np.asarray(
            np.tensordot(weights, self.covariance[: self._q], axes=1), dtype=np.float64
        )
