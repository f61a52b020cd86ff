"""Hyper-parameters of the spectral learner as rules of public quantities.

Nothing here looks at data: a search on private data would itself have to be paid for. The inputs
are the public expected cohort size, the public catalogue size, epsilon and whether public features
exist. Each rule states its reason; the constants were fixed once on MovieLens and then frozen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacit.privacy.quantize import integer_target
from tacit.server.coordinator.learners.errors import BadPlan

_SMALLEST_NORM, _LARGEST_NORM = 4096, 32767


@dataclass(frozen=True, slots=True)
class SpectralPlan:
    """State the hyper-parameters of one run.

    Attributes:
        width: directions a device reports in each subspace round.
        subspace_rounds: number of subspace rounds.
        clipping_norm: bound on `||V^T y_u||` in a subspace round.
        popularity_share: part of the zCDP budget for the popularity round.
        feature_share: part for the feature round; 0 without features.
    """

    width: int
    subspace_rounds: int
    clipping_norm: float
    popularity_share: float
    feature_share: float


def spectral_plan(
    n_items: int,
    expected_cohort: int,
    epsilon: float,
    *,
    has_features: bool,
    rounds: int | None = None,
) -> SpectralPlan:
    """Choose the hyper-parameters of a run.

    Args:
        n_items: size of the public catalogue, at least 2.
        expected_cohort: public expected number of contributing users, at least 1.
        epsilon: total privacy budget; infinity for no noise.
        has_features: whether public item features are given.
        rounds: total number of rounds, all kinds together; `None` applies the rule.

    Raises:
        BadPlan: an argument is out of range, or `rounds` leaves no subspace round.
    """
    if n_items < 2:
        raise BadPlan(f"expected at least 2 items, got {n_items}")
    if expected_cohort < 1:
        raise BadPlan(f"expected a cohort of at least 1, got {expected_cohort}")
    if not epsilon > 0.0:
        raise BadPlan(f"expected epsilon above zero, got {epsilon}")
    preparing = 2 if has_features else 1
    if rounds is not None and rounds < preparing + 1:
        raise BadPlan(f"expected at least {preparing + 1} rounds, got {rounds}")
    subspace_rounds = _subspace_rounds(epsilon) if rounds is None else rounds - preparing
    return SpectralPlan(
        width=min(_width(expected_cohort, epsilon), n_items),
        subspace_rounds=subspace_rounds,
        clipping_norm=1.0 if math.isinf(epsilon) else 0.15,
        popularity_share=0.1,
        feature_share=0.1 if has_features else 0.0,
    )


def _subspace_rounds(epsilon: float) -> int:
    """Iterate more when noise is small: each round splits the budget but refines the subspace."""
    return 2 if epsilon < 2.0 else 4


def _width(expected_cohort: int, epsilon: float) -> int:
    """Report as many directions as can rise above the noise.

    The signal of a direction grows with the cohort, its noise with `1 / epsilon`; taste spectra
    fall off roughly as `1 / j`, so the number of usable directions grows with their product's
    square root, between 4 and 32.
    """
    if math.isinf(epsilon):
        return 32
    return max(4, min(32, round(0.11 * math.sqrt(expected_cohort * epsilon))))


def integer_norm_for(length: int) -> int:
    """Choose the Euclidean bound of the integers a device sends.

    Rounding costs `length / 4` of the squared norm at worst; the smallest power of two from 4096
    that keeps 99% of the norm for the signal is taken, at most 32767 so that int16 holds a value.

    Raises:
        BadPlan: the contribution is too long for any norm that fits int16.
    """
    norm = _SMALLEST_NORM
    while norm <= _LARGEST_NORM:
        if length <= norm * norm // 16 and integer_target(norm, length) >= 0.99 * norm:
            return norm
        norm = min(2 * norm, _LARGEST_NORM) if norm < _LARGEST_NORM else _LARGEST_NORM + 1
    raise BadPlan(f"expected a contribution that int16 can carry, got {length} coordinates")
