"""Learner `popularity/1`: one round, the floor that every other learner must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.server.coordinator.learners.errors import BadPlan
from tacit.server.coordinator.learners.item_popularity import POPULARITY, item_distribution
from tacit.server.coordinator.learners.protocol import (
    NoisedSum,
    PublicArrays,
    RoundSpec,
    check_history,
)


class PopularityLearner:
    """Rank items by noised popularity; the model has one loading, all zero.

    Args:
        n_items: size of the public catalogue, at least 2.

    Raises:
        BadPlan: the catalogue is too small.
    """

    name = "popularity/1"

    def __init__(self, n_items: int) -> None:
        if n_items < 2:
            raise BadPlan(f"expected at least 2 items, got {n_items}")
        self._n_items = n_items

    def rounds(self) -> tuple[RoundSpec, ...]:
        """Plan the single round."""
        return (
            RoundSpec(
                round_id=1,
                statistic=POPULARITY,
                length=self._n_items,
                clipping_norm=1.0,
                budget_share=1.0,
                parameters={},
            ),
        )

    def context(self, round_id: int, history: Sequence[NoisedSum]) -> PublicArrays:
        """Return no arrays: the statistic needs none.

        Raises:
            BadHistory: the round is not 1 or there is a history already.
        """
        check_history(self.rounds(), history, expected=round_id - 1)
        return {}

    def model(self, history: Sequence[NoisedSum]) -> PublicArrays:
        """Return the popularity model.

        Raises:
            BadHistory: the history is not the one round.
        """
        check_history(self.rounds(), history)
        return popularity_model(item_distribution(history[0]))


def popularity_model(distribution: np.ndarray[tuple[int], np.dtype[np.float64]]) -> PublicArrays:
    """Express a popularity ranking as a model with one zero loading."""
    return {
        "popularity": distribution.astype(np.float32),
        "loadings": np.zeros((len(distribution), 1), dtype=np.float32),
        "prior_variance": np.ones(1, dtype=np.float32),
        "item_variance": distribution.astype(np.float32),
    }
