"""What utility a budget may be expected to buy, from one measured study. Never a promise.

The study trained the spectral learner with public item features on MovieLens 1M (3,706 items) and
scored NDCG@100, full ranking, on users who took no part, at epsilon 1 in all, for ever more users;
below 5,040 users by subsampling, above by dividing the noise as that many more people like these
would. Noise does not grow with users, so what decides is N times epsilon (the quantity the
learner's own rules are written in); the curve is read at that product. The study's other points
say how good that is: it gives 0.454 where 0.459 was measured (epsilon 0.3, 320,000 users), 0.389
where 0.378 was (1, 6,040, another split), 0.423 where 0.410 was (3, 6,040) and 0.443 where 0.427
was (8, 6,040).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

MEASURED: tuple[tuple[int, float], ...] = (
    (315, 0.098),
    (1_260, 0.240),
    (2_520, 0.323),
    (5_040, 0.383),
    (10_000, 0.405),
    (20_000, 0.426),
    (80_000, 0.452),
    (320_000, 0.468),
)
"""(users, NDCG@100) at epsilon 1."""

NOT_PRIVATE = 0.472
"""What the study's best linear model reached on the raw data in one place (EASE)."""

METRIC = "NDCG@100"
SOURCE = (
    "study of the spectral learner with public features on MovieLens 1M (3,706 items, held-out "
    "users, full ranking), read at users × ε; other data, rounds and learners differ"
)
ERROR = 0.016
"""How far the curve lay from the study's points that are not on it, at most."""


@dataclass(frozen=True, slots=True)
class ExpectedUtility:
    """An expectation with where it comes from.

    Attributes:
        value: NDCG@100; None outside what was measured, where nothing is extrapolated.
        not_private: The same metric without privacy, for comparison.
        reason: Why there is no value; empty where there is one.
    """

    value: float | None
    not_private: float
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return the expectation with its label and source."""
        return {
            "label": "expectation, not a promise",
            "metric": METRIC,
            "value": self.value,
            "error_seen": ERROR,
            "not_private": self.not_private,
            "source": SOURCE,
            "reason": self.reason or None,
        }


def expected_utility(n_users: int, epsilon: float) -> ExpectedUtility:
    """Read the study's curve at ``n_users * epsilon``, log-linearly between its points.

    Args:
        n_users: users who contribute, at least 1.
        epsilon: of the whole task, above 0 and finite.
    """
    effective = n_users * epsilon
    least, most = MEASURED[0][0], MEASURED[-1][0]
    if not least <= effective <= most:
        side = "below" if effective < least else "above"
        return ExpectedUtility(
            None,
            NOT_PRIVATE,
            f"users × ε is {effective:,.6g}, {side} the measured range {least:,} to {most:,}; "
            "nothing is extrapolated",
        )
    for (left, low), (right, high) in itertools.pairwise(MEASURED):
        if effective <= right:
            share = math.log(effective / left) / math.log(right / left)
            return ExpectedUtility(round(low + share * (high - low), 3), NOT_PRIVATE, "")
    return ExpectedUtility(MEASURED[-1][1], NOT_PRIVATE, "")
