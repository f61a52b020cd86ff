"""From noisy sketches of the second moment of tastes to its leading directions.

Round `t` releases `Z_t = A V_t + noise` for the second moment `A` of the users' tastes. Nothing is
thrown away: with `B` an orthonormal basis of all `V_t` and `C_t = B^T V_t`, least squares over all
rounds gives `A B = (sum_t Z_t C_t^T / s_t^2) K^-1`, `K = sum_t C_t C_t^T / s_t^2`. In the
coordinates `K^(1/2)` the noise is 1 on every coordinate, which is where rows are shrunk. Because
`A` is positive semi-definite, its action on `B` gives more than `B`: `A ~ R (B^T R)^-1 R^T` with
`R = A B` (Nystrom; Gittens and Mahoney 2016, section 1). What the Gram round saw beyond that on
the kernel's directions is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.kernel import TasteKernel
from tacit.server.coordinator.learners.protocol import FloatArray
from tacit.server.coordinator.learners.shrinkage import growing_groups, shrink_columns

_RANK_TOLERANCE = 1e-3
_LEAST_STRENGTH = 1e-2  # of the strongest: weaker ones are noise that Nystrom would magnify
_LEAST_EXACT_STRENGTH = 1e-9
_MARGIN = 4.0
_KERNEL_GROUPS, _FEWEST_DIRECTIONS = 8, 6
_ITEM_GROUPS, _FEWEST_ITEMS = 20, 16


@dataclass(frozen=True, slots=True)
class Sketch:
    """Hold one sketch in units of `sum_u y_u y_u^T` over the expected cohort.

    Attributes:
        basis: `(n_items, k)` `V_t`, of full column rank.
        rows: `(n_items, k)` `Z_t`, mean profile and accident removed.
        noise_std: standard deviation of the noise on each coordinate; 0 for none.
    """

    basis: FloatArray
    rows: FloatArray
    noise_std: float

    @classmethod
    def of(
        cls,
        values: FloatArray,
        noise_std: float,
        clipping_norm: float,
        basis: FloatArray,
        geometry: Geometry,
        cohort: int,
    ) -> Sketch:
        """Bring a released sum into the common units.

        Without noise nothing was clipped. With noise the clipping norm is far below what profiles
        project, so each user contributed `C y_u (V^T y_u)^T / ||V^T y_u||`. The mean of
        `1 / ||V^T y_u||` is estimated from the sketch itself: its trace with `V` is the sum of the
        `||V^T y_u||`.

        Args:
            values: `(n_items * k,)` as released.
            noise_std: of each coordinate.
            clipping_norm: C of the round.
            basis: `V_t`, before it was centred for the devices.
            geometry: coordinates.
            cohort: public expected number of users.
        """
        centred = geometry.centred_basis(basis)
        rows = values.reshape(basis.shape)
        weight = float(cohort)
        if noise_std > 0.0:
            rows = rows / clipping_norm
            projected = float(np.sum(centred * rows))
            weight = cohort**2 / max(projected, _RANK_TOLERANCE * cohort)
        accident = geometry.self_products(1)[:, np.newaxis] * centred
        rows = geometry.centred_rows(rows - weight * accident)
        if noise_std == 0.0:
            return cls(basis, rows, 0.0)
        back = cohort / weight
        return cls(basis, rows * back, noise_std / clipping_norm * back)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Hold the leading directions of the users' second moment.

    Attributes:
        directions: `(n_items, r)` orthonormal columns, strongest first.
        strengths: `(r,)` eigenvalues, summed over users, zero or more.
    """

    directions: FloatArray
    strengths: FloatArray

    @classmethod
    def of_factor(cls, factor: FloatArray) -> Spectrum:
        """Decompose `factor factor^T`."""
        if factor.shape[1] == 0:
            return cls(factor, np.zeros(0))
        left, singular, _ = np.linalg.svd(factor, full_matrices=False)
        return cls(left, singular**2)


def combine(
    sketches: Sequence[Sketch],
    covariance: FloatArray,
    kernel: TasteKernel,
    geometry: Geometry,
) -> Spectrum:
    """Estimate the leading eigenpairs of `A` from everything released so far.

    Args:
        sketches: all sketches so far; none is fine.
        covariance: `(q, q)` `A` on the kernel's directions, from the Gram round.
        kernel: those directions.
        geometry: coordinates of the catalogue.

    Returns:
        No directions if nothing at all rises above the noise.
    """
    known = _nystrom_factor(sketches, kernel, geometry)
    if any(sketch.noise_std == 0.0 for sketch in sketches):
        return Spectrum.of_factor(known)  # exact on its directions: nothing to add
    explained = kernel.directions.T @ known
    values, axes = np.linalg.eigh(covariance - explained @ explained.T)
    kept = values > max(_RANK_TOLERANCE * float(values[-1]), 0.0)
    beyond = kernel.directions @ (axes[:, kept] * np.sqrt(values[kept]))
    return Spectrum.of_factor(np.hstack([known, beyond]))


def _nystrom_factor(
    sketches: Sequence[Sketch], kernel: TasteKernel, geometry: Geometry
) -> FloatArray:
    """Compute `L` with `A ~ L L^T` from the sketches, `(n_items, r)`; r is 0 without signal."""
    if not sketches:
        return np.zeros((len(geometry.weights), 0))
    basis, unwhiten, rows = _whiten(sketches)
    exact = sketches[-1].noise_std == 0.0
    if not exact:
        if not _rises_above_noise(rows, kernel):
            return rows[:, :0]
        # First to find the directions, then along those: strong ones are hardly shrunk.
        rough = _shrink(rows, kernel, geometry)
        _, _, axes = np.linalg.svd(rough, full_matrices=False)
        rows = _shrink(rows @ axes.T, kernel, geometry) @ axes
    action = rows @ unwhiten.T
    inner = basis.T @ action
    values, turn = np.linalg.eigh((inner + inner.T) / 2.0)
    least = _LEAST_EXACT_STRENGTH if exact else _LEAST_STRENGTH
    kept = values > max(least * float(values[-1]), 0.0)
    return np.asarray(action @ (turn[:, kept] / np.sqrt(values[kept])), dtype=np.float64)


def _whiten(sketches: Sequence[Sketch]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return `B`, `K^(-1/2)` in the eigenbasis of `K`, and the whitened rows of `A B`."""
    left, singular, _ = np.linalg.svd(
        np.hstack([sketch.basis for sketch in sketches]), full_matrices=False
    )
    basis = left[:, singular > _RANK_TOLERANCE * singular[0]]
    width = basis.shape[1]
    mass, total = np.zeros((width, width)), np.zeros(basis.shape)
    for sketch in sketches:
        turn = basis.T @ sketch.basis
        precision = 1.0 / sketch.noise_std**2 if sketch.noise_std > 0.0 else 1.0
        mass += precision * turn @ turn.T
        total += precision * sketch.rows @ turn.T
    masses, axes = np.linalg.eigh(mass)
    unwhiten = axes / np.sqrt(masses)
    return basis, unwhiten, total @ unwhiten


def _shrink(rows: FloatArray, kernel: TasteKernel, geometry: Geometry) -> FloatArray:
    """Shrink whitened rows: what the kernel explains by its order, the rest by popularity."""
    explained = kernel.directions.T @ rows
    rest = rows - kernel.directions @ explained
    along = growing_groups(len(explained), _FEWEST_DIRECTIONS, _KERNEL_GROUPS)[::-1]
    popular_first: npt.NDArray[np.intp] = np.argsort(-geometry.distribution, kind="stable")
    groups = growing_groups(len(popular_first), _FEWEST_ITEMS, _ITEM_GROUPS)[::-1]
    items = [popular_first[group] for group in groups]
    return kernel.directions @ shrink_columns(explained, 1.0, along) + shrink_columns(
        rest, 1.0, items
    )


def _rises_above_noise(rows: FloatArray, kernel: TasteKernel) -> bool:
    """Tell whether whitened rows, or what the kernel explains of them, hold more than noise.

    The largest singular value of an `(n, m)` standard Gaussian matrix exceeds
    `sqrt(n) + sqrt(m) + t` with probability at most `exp(-t^2 / 2)` (Davidson and Szarek 2001,
    Theorem II.13), which is 3.4e-4 here.
    """
    for block in (rows, kernel.directions.T @ rows):
        n, m = block.shape
        edge = math.sqrt(n) + math.sqrt(m) + _MARGIN
        if block.size and float(np.linalg.norm(block, ord=2)) > edge:
            return True
    return False
