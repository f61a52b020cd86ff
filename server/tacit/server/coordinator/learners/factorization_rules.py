"""Hyper-parameters of the factorization learner as rules of public quantities.

Nothing here looks at data: a search on private data would itself have to be paid for. The inputs
are the public expected cohort, the public catalogue size, epsilon and whether public features
exist. The constants were fixed once on one split of two MovieLens sets and then frozen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacit.server.coordinator.learners.errors import BadPlan

UNSEEN_WEIGHT = 0.3
"""Weight of an item outside the history against 1 inside: most such items were never seen."""

RIDGE = 10.0
"""Weight of `|u|^2`: a history of about ten items counts as much as the prior."""

GRAM_WEIGHT = 0.3
"""Scale of `u u^T` in a contribution: it has few coordinates and needs little of the norm."""

CLIPPING_NORM = 1.0
"""Euclidean bound of a gradient contribution: below what most users have, so they count alike."""

_HARD, _VERY_HARD = 0.1, 0.3
_UPLOAD_BYTES = (
    440_000  # over all gradient rounds; popularity and features fit in the rest of 0.5 MB
)
_BYTES_PER_COORDINATE = 2
_FEWEST, _MOST = 16, 32


@dataclass(frozen=True, slots=True)
class FactorizationPlan:
    """State the hyper-parameters of one run.

    Attributes:
        width: trained factors, without the popularity column.
        gradient_rounds: number of rounds of `factorization/1`.
        feature_clipping_norm: bound in the feature round.
        popularity_share: part of the zCDP budget for the popularity round.
        feature_share: part for the feature round; 0 without features.
    """

    width: int
    gradient_rounds: int
    feature_clipping_norm: float
    popularity_share: float
    feature_share: float


def factorization_plan(
    n_items: int,
    expected_cohort: int,
    epsilon: float,
    *,
    with_features: bool,
    rounds: int | None = None,
) -> FactorizationPlan:
    """Choose the hyper-parameters of a run.

    The rules turn on the hardness `n_items / (expected_cohort * epsilon)`, the noise of an average
    item's popularity relative to the users who could have raised it:

    - Popularity gets half the hardness of the zCDP budget, within 7% and 30%: every step divides by
      it. Features get 10%, and 20% above a hardness of 0.3, where they are most of what is learnt.
    - Each further gradient round halves the budget of each: one when hardness exceeds 0.1, else
      two; two more without features, for the start is then random.
    - The width grows with the square root of `cohort * epsilon` (taste spectra fall off), from 16
      to 32, within 0.44 MB of upload; directions that are only noise are shrunk away, so a little
      too wide costs less than too narrow.

    Args:
        n_items: size of the public catalogue, at least 2.
        expected_cohort: public expected number of contributing users, at least 1.
        epsilon: total privacy budget; infinity for no noise.
        with_features: whether public item features exist.
        rounds: total number of rounds, all kinds together; `None` applies the rule.

    Raises:
        BadPlan: an argument is out of range, or `rounds` leaves no gradient round.
    """
    if n_items < 2:
        raise BadPlan(f"expected at least 2 items, got {n_items}")
    if expected_cohort < 1:
        raise BadPlan(f"expected a cohort of at least 1, got {expected_cohort}")
    if not epsilon > 0.0:
        raise BadPlan(f"expected epsilon above zero, got {epsilon}")
    preparing = 2 if with_features else 1
    if rounds is not None and rounds < preparing + 1:
        raise BadPlan(f"expected at least {preparing + 1} rounds, got {rounds}")
    hardness = n_items / (expected_cohort * epsilon)
    usual = (1 if hardness > _HARD else 2) + (0 if with_features else 2)
    gradient_rounds = usual if rounds is None else rounds - preparing
    usable = 0.11 * math.sqrt(expected_cohort * min(epsilon, 16.0))
    bearable = _UPLOAD_BYTES // (_BYTES_PER_COORDINATE * n_items * gradient_rounds)
    return FactorizationPlan(
        width=min(n_items - 1, max(4, min(max(_FEWEST, min(_MOST, round(usable))), bearable))),
        gradient_rounds=gradient_rounds,
        feature_clipping_norm=1.0 if math.isinf(epsilon) else 0.07,
        popularity_share=min(0.3, max(0.07, hardness / 2.0)),
        feature_share=0.0 if not with_features else 0.2 if hardness > _VERY_HARD else 0.1,
    )
