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


_HARD = 0.15
_UPLOAD_BYTES = 500_000  # of one device over all subspace rounds
_BYTES_PER_COORDINATE = 2


@dataclass(frozen=True, slots=True)
class SpectralPlan:
    """State the hyper-parameters of one run.

    Attributes:
        width: directions a device reports in each subspace round.
        subspace_rounds: number of subspace rounds.
        clipping_norm: bound on `||V^T y_u||` in a subspace round.
        feature_clipping_norm: bound on `||Q^T y_u||^2` in the feature round.
        popularity_share: part of the zCDP budget for the popularity round.
        feature_share: part for the feature round; 0 without features.
    """

    width: int
    subspace_rounds: int
    clipping_norm: float
    feature_clipping_norm: float
    popularity_share: float
    feature_share: float


def spectral_plan(
    n_items: int,
    expected_cohort: int,
    epsilon: float,
    *,
    feature_width: int,
    rounds: int | None = None,
) -> SpectralPlan:
    """Choose the hyper-parameters of a run.

    All rules turn on one number, the hardness `n_items / (expected_cohort * epsilon)`: the noise
    of an average item's popularity relative to the users who could have raised it.

    - Popularity gets half the hardness of the zCDP budget, within 7% and 30%: everything else is
      expressed relative to it.
    - Features get 10%: their Gram matrix is small, and clipping it at 0.07, about what a unit
      profile projects on them, leaves it far above the noise.
    - The subspace rounds share the rest evenly; their clipping norm of 0.15 is below what most
      unit profiles project on the directions, so that devices contribute equally. With features
      one round is enough when hardness exceeds 0.15, else two; without, the start is random and
      four are needed.

    Args:
        n_items: size of the public catalogue, at least 2.
        expected_cohort: public expected number of contributing users, at least 1.
        epsilon: total privacy budget; infinity for no noise.
        feature_width: number of public feature directions; 0 without features.
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
    preparing = 2 if feature_width else 1
    if rounds is not None and rounds < preparing + 1:
        raise BadPlan(f"expected at least {preparing + 1} rounds, got {rounds}")
    hardness = n_items / (expected_cohort * epsilon)
    usual = 4 if not feature_width else 1 if hardness > _HARD else 2
    subspace_rounds = usual if rounds is None else rounds - preparing
    noiseless = math.isinf(epsilon)
    return SpectralPlan(
        width=_width(n_items, expected_cohort, epsilon, subspace_rounds),
        subspace_rounds=subspace_rounds,
        clipping_norm=1.0 if noiseless else 0.15,
        feature_clipping_norm=1.0 if noiseless else 0.07,
        popularity_share=min(0.3, max(0.07, hardness / 2.0)),
        feature_share=0.1 if feature_width else 0.0,
    )


def _width(n_items: int, expected_cohort: int, epsilon: float, subspace_rounds: int) -> int:
    """Report as many directions as can rise above the noise, within the upload a phone can bear.

    The signal of a direction grows with the cohort, its noise with `1 / epsilon`; taste spectra
    fall off, so the number of usable directions grows with about the square root of
    `cohort * epsilon`. Columns that turn out to be noise are shrunk away, so a little too wide
    costs less than too narrow. Four columns are always sent.
    """
    bearable = _UPLOAD_BYTES // (_BYTES_PER_COORDINATE * n_items * subspace_rounds)
    usable = 64.0 if math.isinf(epsilon) else 0.16 * math.sqrt(expected_cohort * epsilon)
    return min(n_items, max(4, min(64, round(usable), bearable)))


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
