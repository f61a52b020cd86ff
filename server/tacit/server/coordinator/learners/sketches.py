"""Combine all noisy sketches of one symmetric matrix into its leading directions.

Round `t` releases `Z_t = A V_t + noise` for the second moment `A` of the users' rows. Nothing is
thrown away: with `B` an orthonormal basis of all `V_t` and `C_t = B^T V_t`, least squares over all
rounds gives `A B = (sum_t Z_t C_t^T) K^-1`, `K = sum_t C_t C_t^T`. In the coordinates `K^(1/2)` the
noise is again the same on every coordinate, which is where rows are shrunk and directions cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.protocol import FloatArray
from tacit.server.coordinator.learners.shrinkage import row_factors


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Hold the leading directions of the users' second moment.

    Attributes:
        directions: `(n_items, r)` orthonormal columns, strongest first.
        strengths: `(r,)` eigenvalues, summed over users, zero or more.
    """

    directions: FloatArray
    strengths: FloatArray


def combine(
    bases: Sequence[FloatArray],
    sketches: Sequence[FloatArray],
    noise_std: float,
    geometry: Geometry,
    feature_basis: FloatArray | None,
) -> Spectrum:
    """Estimate the leading eigenpairs of `A` from every sketch so far.

    Directions whose singular value lies under the edge of pure noise,
    `noise (sqrt(sum f_i^2) + sqrt(m))` for row factors `f` and `m` columns (the limit of the
    largest singular value of a Gaussian matrix, Davidson and Szarek 2001, Theorem II.13), are
    dropped.

    Args:
        bases: `V_t` of each round, `(n_items, k_t)`.
        sketches: `Z_t` of each round, same shapes, rows centred.
        noise_std: standard deviation of the noise on each coordinate of every sketch.
        geometry: coordinates of the catalogue.
        feature_basis: `(n_items, f)` orthonormal directions exempt from row shrinkage, or `None`.
    """
    left, singular, _ = np.linalg.svd(np.hstack(bases), full_matrices=False)
    basis = left[:, singular > 1e-3 * singular[0]]
    turns = [basis.T @ given for given in bases]
    mass, axes = np.linalg.eigh(sum((c @ c.T for c in turns), np.zeros((basis.shape[1],) * 2)))
    total = sum((z @ c.T for z, c in zip(sketches, turns, strict=True)), np.zeros(basis.shape))
    whitened = total @ (axes / np.sqrt(mass))
    shrunk, factors = _shrink(whitened, noise_std, geometry, feature_basis)
    left, singular, right = np.linalg.svd(shrunk, full_matrices=False)
    edge = noise_std * (math.sqrt(float(np.sum(factors**2))) + math.sqrt(whitened.shape[1]))
    kept = singular > max(edge, 1e-9 * float(singular[0]))
    kept[0] = True
    left, singular, right = left[:, kept], singular[kept], right[kept]
    projected = singular[:, np.newaxis] * (right @ ((axes / np.sqrt(mass)).T @ (basis.T @ left)))
    strengths, turn = np.linalg.eigh((projected + projected.T) / 2.0)
    return Spectrum(left @ turn[:, ::-1], np.maximum(strengths[::-1], 0.0))


def _shrink(
    rows: FloatArray, noise_std: float, geometry: Geometry, feature_basis: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Shrink what public features cannot express; return the rows and the factors used."""
    if feature_basis is None:
        factors = row_factors(rows, noise_std, geometry.distribution)
        return factors[:, np.newaxis] * rows, factors
    explained = feature_basis @ (feature_basis.T @ rows)
    residual = rows - explained
    factors = row_factors(residual, noise_std, geometry.distribution)
    return explained + factors[:, np.newaxis] * residual, factors
