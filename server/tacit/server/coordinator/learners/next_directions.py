"""Which directions the next round measures, and how far each is magnified."""

from __future__ import annotations

import numpy as np

from tacit.server.coordinator.learners.geometry import Geometry
from tacit.server.coordinator.learners.protocol import FloatArray

_START_SEED = 20210607  # of the public random start; no protection rests on it
_MAGNIFICATION = 0.4
_WEAKEST = 0.02


def magnified(basis: FloatArray, strengths: FloatArray) -> FloatArray:
    """Scale columns by `strength^-0.4`; by 1 where nothing has been found.

    A projection of fixed length then spends less of it on strong directions, which stand far above
    the noise anyway.
    """
    strongest = float(np.max(strengths))
    if strongest <= 0.0:
        return basis
    return basis * np.maximum(strengths / strongest, _WEAKEST) ** -_MAGNIFICATION


def padded(columns: FloatArray, width: int) -> FloatArray:
    """Add empty columns up to `width`."""
    return np.pad(columns, ((0, 0), (0, width - columns.shape[1])))


def complete(known: FloatArray, width: int, geometry: Geometry) -> FloatArray:
    """Take the first `width` directions, filled up with public pseudo-random ones if too few.

    Returns:
        `(n_items, width)` with orthonormal columns.
    """
    known = known[:, :width]
    missing = width - known.shape[1]
    if missing > 0:
        # random_raw is the one stream numpy promises never to change between versions.
        seed = np.random.PCG64(_START_SEED + known.shape[1])
        raw = np.asarray(seed.random_raw(len(known) * missing), dtype=np.uint64)
        signs = np.where(raw >> np.uint64(63), 1.0, -1.0).reshape(len(known), missing)
        spread = geometry.weights * np.sqrt(geometry.distribution)
        fresh = geometry.centred_rows(spread[:, np.newaxis] * signs)
        known = np.hstack([known, fresh - known @ (known.T @ fresh)])
    basis, turn = np.linalg.qr(known)
    return np.asarray(basis * np.sign(np.diag(turn)), dtype=np.float64)
