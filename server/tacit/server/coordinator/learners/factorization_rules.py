"""Hyper-parameters of the factorization learner as rules of public quantities.

Nothing here looks at data: a search on private data would itself have to be paid for. The inputs
are the public expected cohort, the public catalogue size and epsilon. The constants were fixed once
on one split of two MovieLens sets and then frozen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacit.server.coordinator.learners.errors import BadPlan
from tacit.server.coordinator.learners.rules import spectral_plan

UNSEEN_WEIGHT = 0.3
"""Weight of an item outside the history against 1 inside: most such items were never seen."""

RIDGE = 10.0
"""Weight of `|u|^2`: a history of about ten items counts as much as the prior."""

GRAM_WEIGHT = 0.3
"""Scale of `u u^T` in a contribution: it has few coordinates and needs little of the norm."""

CLIPPING_NORM = 1.0
"""Euclidean bound of a gradient contribution: below what most users have, so they count alike."""

_HARD = 0.1
_PREPARING_ROUNDS = 2
_UPLOAD_BYTES = 500_000  # of one device over the whole training
_BYTES_PER_COORDINATE = 2
_FEWEST, _MOST = 16, 32


@dataclass(frozen=True, slots=True)
class FactorizationPlan:
    """State the hyper-parameters of one run.

    Attributes:
        width: trained factors, without the popularity column.
        gradient_rounds: number of rounds of `factorization/1`.
        kernel_width: directions of the Gram round.
        gram_clipping_norm: bound in the Gram round.
        popularity_share: part of the zCDP budget for the popularity round.
        gram_share: part for the Gram round.
    """

    width: int
    gradient_rounds: int
    kernel_width: int
    gram_clipping_norm: float
    popularity_share: float
    gram_share: float


def factorization_plan(
    n_items: int,
    expected_cohort: int,
    epsilon: float,
    *,
    rounds: int | None = None,
) -> FactorizationPlan:
    """Choose the hyper-parameters of a run.

    Popularity and the Gram round are those of the spectral learner, with its rules (`rules`): they
    prepare the same knowledge. What is left goes to gradient rounds:

    - Each further one halves the budget of each: one when the hardness
      `n_items / (expected_cohort * epsilon)`, the noise of an average item's popularity relative to
      the users who could have raised it, exceeds 0.1, else two.
    - The width grows with the square root of `cohort * epsilon` (taste spectra fall off), from 16
      to 32, within 0.5 MB of upload; directions that are only noise are shrunk away, so a little
      too wide costs less than too narrow.

    Args:
        n_items: size of the public catalogue, at least 2.
        expected_cohort: public expected number of contributing users, at least 1.
        epsilon: total privacy budget; infinity for no noise.
        rounds: total number of rounds, all kinds together; `None` applies the rule.

    Raises:
        BadPlan: an argument is out of range, or `rounds` leaves no gradient round.
    """
    if rounds is not None and rounds < _PREPARING_ROUNDS + 1:
        raise BadPlan(f"expected at least {_PREPARING_ROUNDS + 1} rounds, got {rounds}")
    prepared = spectral_plan(n_items, expected_cohort, epsilon)
    usual = 1 if n_items / (expected_cohort * epsilon) > _HARD else 2
    gradient_rounds = usual if rounds is None else rounds - _PREPARING_ROUNDS
    usable = 0.11 * math.sqrt(expected_cohort * min(epsilon, 16.0))
    spent = n_items + prepared.kernel_width * (prepared.kernel_width + 1) // 2
    room = _UPLOAD_BYTES // _BYTES_PER_COORDINATE - spent
    bearable = room // ((n_items + _MOST + 1) * gradient_rounds)
    return FactorizationPlan(
        width=min(n_items - 1, max(4, min(max(_FEWEST, min(_MOST, round(usable))), bearable))),
        gradient_rounds=gradient_rounds,
        kernel_width=prepared.kernel_width,
        gram_clipping_norm=prepared.gram_clipping_norm,
        popularity_share=prepared.popularity_share,
        gram_share=prepared.gram_share,
    )
