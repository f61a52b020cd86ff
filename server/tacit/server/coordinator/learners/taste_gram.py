"""From the noised Gram matrix of the kernel's directions to the covariance of tastes on them.

A profile's projection `q_u = Q^T y_u` holds taste and the accident of which items a person happened
to pick. The second moment of the latter is known from popularity alone, `F = Q^T diag(w^2 pi) Q`,
up to a scale that the weak directions show, for they hold hardly any taste. What is left over is
the covariance of tastes plus the noise of the round, and is shrunk towards the kernel's prior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.kernel import TasteKernel
from tacit.server.coordinator.learners.protocol import FloatArray, NoisedSum
from tacit.server.coordinator.learners.shrinkage import shrink_symmetric_blocks

_GROUPS = 8
CAUTION = 0.9  # weak directions hold a little taste too: not all of them is accident
_LEAST_ACCIDENT, _MOST_ACCIDENT = 0.3, 1.0  # plausible shares of accident in a profile
_CLEAR = 3.3  # standard deviations: a false alarm has probability 5e-4


@dataclass(frozen=True, slots=True)
class MeasuredGram:
    """Hold what a Gram round says of tastes, before anything is shrunk.

    Attributes:
        values: `(q, q)` symmetric estimate, on the kernel's directions, of `sum_u y_u y_u^T` over
            the expected cohort, the accident of which items people picked taken out.
        noise_std: standard deviation of the noise on an entry beside the diagonal, where it is
            `sqrt(2)` times as large; 0 for none.
        accident: `(q, q)` what was taken out.
    """

    values: FloatArray
    noise_std: float
    accident: FloatArray

    @classmethod
    def of(
        cls,
        released: NoisedSum,
        clipping_norm: float,
        kernel: TasteKernel,
        geometry: Geometry,
        cohort: int,
    ) -> MeasuredGram:
        """Bring a released Gram matrix into the common units; see `taste_covariance`."""
        gram = _unpack(released.values, len(kernel.variances))
        accident = accidental_moment(kernel, geometry)
        if released.noise_std == 0.0:
            return cls(gram - cohort * accident, 0.0, cohort * accident)
        gram /= clipping_norm
        weak = np.arange(len(gram)) >= len(gram) // 2
        largest = cohort / float(np.trace(accident))
        ratio = float(np.sum(np.diag(gram)[weak]) / np.sum(np.diag(accident)[weak]))
        scale = min(max(ratio, _LEAST_ACCIDENT * largest), _MOST_ACCIDENT * largest)
        beside = released.noise_std / clipping_norm * (cohort / scale) / math.sqrt(2.0)
        removed = CAUTION * cohort * accident
        return cls(gram * (cohort / scale) - removed, beside, removed)


def accidental_moment(kernel: TasteKernel, geometry: Geometry) -> FloatArray:
    """Compute `F = Q^T diag(w^2 pi) Q`, one user's second moment without any taste, `(q, q)`."""
    basis = geometry.centred_basis(kernel.directions)
    own = geometry.self_products(1)[:, np.newaxis] * basis
    return np.asarray(basis.T @ own, dtype=np.float64)


def taste_covariance(
    released: NoisedSum,
    clipping_norm: float,
    kernel: TasteKernel,
    geometry: Geometry,
    cohort: int,
) -> FloatArray:
    """Estimate the covariance of tastes on the kernel's directions from the released round.

    Args:
        released: the upper triangle of the noised Gram matrix; it may be wider than the kernel,
            then its last rows and columns are empty.
        clipping_norm: bound on `||q_u||^2` in the round. Unless the round was free of noise, it
            is far below what profiles reach, so each contributes `q_u q_u^T / ||q_u||^2`.
        kernel: directions and what to expect along them.
        geometry: coordinates.
        cohort: public expected number of users.

    Returns:
        `(q, q)` symmetric, of `sum_u y_u y_u^T` over the expected cohort; zeros where nothing rose
        above the noise.
    """
    return shrunk(MeasuredGram.of(released, clipping_norm, kernel, geometry, cohort), kernel)


def shrunk(measured: MeasuredGram, kernel: TasteKernel) -> FloatArray:
    """Shrink a measured Gram matrix towards the kernel's prior, `(q, q)`.

    Zeros where nothing rose above the noise; as measured where there was none.
    """
    if measured.noise_std == 0.0:
        return measured.values
    return _towards_prior(measured.values, math.sqrt(2.0) * measured.noise_std, kernel.variances)


def _towards_prior(taste: FloatArray, noise: float, variances: FloatArray) -> FloatArray:
    """Shrink a noisy covariance towards a multiple of the prior's, block by block.

    Args:
        taste: `(q, q)`; noise `noise` on the diagonal and `noise / sqrt(2)` beside it.
        noise: standard deviation.
        variances: `(q,)` prior variances up to scale.
    """
    fit = float(np.diag(taste) @ variances / (variances @ variances))
    uncertainty = noise / math.sqrt(float(variances @ variances))
    beside = noise / math.sqrt(2.0)
    # The largest eigenvalue of pure noise: 2 sd sqrt(q) (Wigner), deviations of the order of sd.
    edge = beside * (2.0 * math.sqrt(len(taste)) + _CLEAR)
    if fit < _CLEAR * uncertainty and float(np.linalg.eigvalsh(taste)[-1]) < edge:
        return np.zeros_like(taste)
    prior = np.diag(max(fit, 0.0) * variances)
    return prior + shrink_symmetric_blocks(taste - prior, beside, block_groups(len(taste)))


def block_groups(width: int) -> npt.NDArray[np.intp]:
    """Group directions in ever larger groups: the strongest one alone, the weak half together."""
    edges = np.unique(np.round(np.geomspace(1.0, width, _GROUPS + 1)).astype(np.intp))
    return np.minimum(np.searchsorted(edges[1:], np.arange(width), side="right"), _GROUPS - 1)


def _unpack(triangle: FloatArray, width: int) -> FloatArray:
    """Restore a symmetric matrix from its scaled upper triangle and cut it to `width`."""
    whole = (math.isqrt(8 * len(triangle) + 1) - 1) // 2
    upper, lower = np.triu_indices(whole)
    gram = np.zeros((whole, whole))
    gram[upper, lower] = triangle / np.where(upper == lower, 1.0, math.sqrt(2.0))
    gram[lower, upper] = gram[upper, lower]
    return gram[:width, :width]
