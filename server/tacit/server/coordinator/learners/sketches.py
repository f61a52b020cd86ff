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

from tacit.server.coordinator.learners.features import FeatureSpace
from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.protocol import FloatArray

_EDGE = 0.3  # of the noise edge; what is weaker has been shrunk to almost nothing already
_RANK_TOLERANCE = 1e-3
_MARGIN = 4.0


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
    features: FeatureSpace,
) -> Spectrum:
    """Estimate the leading eigenpairs of `A` from every sketch so far.

    The rows are shrunk twice: once to find the directions, then along those directions, where
    strong ones are hardly shrunk and weak ones much. Directions that still lie well under the edge
    of pure noise, `noise (sqrt(n_eff) + sqrt(m))` for `n_eff` effective items and `m` columns (the
    limit of the largest singular value of a Gaussian matrix; Davidson and Szarek 2001, Theorem
    II.13), are dropped. If nothing at all rises above the noise there are no directions.

    Args:
        bases: `V_t` of each round, `(n_items, k)`, of full column rank.
        sketches: `Z_t` of each round, same shapes, rows centred.
        noise_std: standard deviation of the noise on each coordinate, the same in every round.
        geometry: coordinates of the catalogue.
        features: what public features can express.
    """
    basis, turns, unwhiten = _whitening(bases)
    total = sum((z @ c.T for z, c in zip(sketches, turns, strict=True)), np.zeros(basis.shape))
    rows = total @ unwhiten
    if not _rises_above_noise(rows, noise_std, features):
        return Spectrum(rows[:, :0], np.zeros(0))
    rough = features.shrink(rows, noise_std, geometry.distribution)
    _, _, axes = np.linalg.svd(rough, full_matrices=False)
    fine = features.shrink(rows @ axes.T, noise_std, geometry.distribution) @ axes
    left, singular, right = np.linalg.svd(fine, full_matrices=False)
    effective = 1.0 / float(np.sum(geometry.distribution**2))
    edge = _EDGE * noise_std * (math.sqrt(effective) + math.sqrt(rows.shape[1]))
    kept = singular > max(edge, 1e-9 * float(singular[0]))
    left, singular, right = left[:, kept], singular[kept], right[kept]
    projected = singular[:, np.newaxis] * (right @ (unwhiten.T @ (basis.T @ left)))
    strengths, turn = np.linalg.eigh((projected + projected.T) / 2.0)
    return Spectrum(left @ turn[:, ::-1], np.maximum(strengths[::-1], 0.0))


def _rises_above_noise(rows: FloatArray, noise_std: float, features: FeatureSpace) -> bool:
    """Tell whether rows, or what single features explain of them, hold more than noise.

    The largest singular value of an `(n, m)` Gaussian matrix exceeds
    `noise (sqrt(n) + sqrt(m) + t)` with probability at most `exp(-t^2 / 2)` (Davidson and Szarek
    2001, Theorem II.13), which is 3.4e-4 here.
    """
    for block in (rows, features.single.T @ rows):
        if block.size == 0:
            continue
        n, m = block.shape
        edge = noise_std * (math.sqrt(n) + math.sqrt(m) + _MARGIN)
        if float(np.linalg.norm(block, ord=2)) > edge:
            return True
    return False


def _whitening(
    bases: Sequence[FloatArray],
) -> tuple[FloatArray, list[FloatArray], FloatArray]:
    """Return `B`, every `C_t` and `K^(-1/2)` in the eigenbasis of `K`."""
    left, singular, _ = np.linalg.svd(np.hstack(bases), full_matrices=False)
    basis = left[:, singular > _RANK_TOLERANCE * singular[0]]
    turns = [basis.T @ given for given in bases]
    width = basis.shape[1]
    mass, axes = np.linalg.eigh(sum((c @ c.T for c in turns), np.zeros((width, width))))
    return basis, turns, axes / np.sqrt(mass)
