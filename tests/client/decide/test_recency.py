"""Recency: newer weighs more, totals stay, explanations stay exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.client.decide import Model, Recency, age_ranks, attribution, scores


@given(
    st.lists(st.floats(0.1, 5.0), min_size=1, max_size=40),
    st.floats(0.0, 2.0),
    st.floats(0.1, 50.0),
)
def test_a_history_keeps_its_total_and_its_newest_gains_most(
    weights: list[float], floor: float, tau: float
) -> None:
    given_weights = np.array(weights)
    ages = np.arange(len(weights))
    got = Recency(floor, tau).reweight(given_weights, ages, np.zeros(len(weights), dtype=np.int64))
    assert got.sum() == pytest.approx(given_weights.sum())
    assert bool(np.all(got > 0))
    ratio = got / given_weights
    assert bool(np.all(np.diff(ratio) <= 1e-12 * ratio[0]))


def test_a_user_is_weighed_the_same_alone_and_in_a_batch() -> None:
    users = np.array([0, 0, 0, 2, 2])
    seen = np.array([5.0, 9.0, 7.0, 1.0, 0.0])
    ages = age_ranks(seen, users)
    assert ages.tolist() == [2, 0, 1, 0, 1]
    weights = np.array([1.0, 2.0, 1.0, 1.5, 1.0])
    batch = Recency().reweight(weights, ages, users)
    for user in (0, 2):
        mine = users == user
        alone = np.zeros(int(mine.sum()), dtype=np.int64)
        np.testing.assert_allclose(
            Recency().reweight(weights[mine], age_ranks(seen[mine], alone), alone), batch[mine]
        )


def test_of_equal_times_the_later_entry_is_newer_and_nothing_yields_nothing() -> None:
    users = np.zeros(3, dtype=np.int64)
    assert age_ranks(np.zeros(3), users).tolist() == [2, 1, 0]
    assert len(Recency().reweight(np.zeros(0), np.zeros(0, dtype=np.int64), users[:0])) == 0


def test_attribution_stays_exact_under_recency() -> None:
    rng = np.random.default_rng(0)
    model = Model.from_arrays(
        {
            "popularity": np.full(12, 1 / 12),
            "loadings": rng.normal(0, 0.05, (12, 3)),
            "prior_variance": np.ones(3),
            "item_variance": np.full(12, 1 / 12),
        }
    )
    items = np.array([1, 4, 7, 9])
    none = np.zeros(4, dtype=np.int64)
    weights = Recency().reweight(np.ones(4), age_ranks(np.array([3, 1, 4, 2]), none), none)
    assert len(set(weights.tolist())) == 4
    total = scores(model, items, weights)
    for target in range(12):
        shares = attribution(model, items, weights, target)
        assert model.popularity[target] + shares.sum() == pytest.approx(total[target], rel=1e-9)
