"""Full-ranking metrics against a slow reference, and a planted leak."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import Profiles, build_profiles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.metrics import METRICS, evaluate
from tacit.simulations.splits import Split, per_user_split

N_ITEMS = 150


def interactions(n_users: int = 12, seed: int = 5) -> Profiles:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 90, n_users)
    users = np.repeat(np.arange(n_users), counts)
    items = np.concatenate([rng.permutation(N_ITEMS)[:c] for c in counts.tolist()])
    return build_profiles(users, items, np.ones(len(items)), n_users=n_users, n_items=N_ITEMS)


def pairs(profiles: Profiles) -> set[tuple[int, int]]:
    return set(zip(profiles.users.tolist(), profiles.items.tolist(), strict=True))


def reference(split: Split, scores: npt.NDArray[np.float64]) -> dict[str, float]:
    """Score by sorting Python lists, straight from the definitions."""
    totals: dict[str, list[float]] = {name: [] for name in METRICS}
    for user in range(split.train.n_users):
        seen = {item for owner, item in pairs(split.train) if owner == user}
        wanted = {item for owner, item in pairs(split.test) if owner == user}
        if not wanted:
            continue
        ranking = sorted(set(range(N_ITEMS)) - seen, key=lambda item: (-scores[item], item))

        def ndcg(depth: int, ranking: list[int] = ranking, wanted: set[int] = wanted) -> float:
            gains = [
                1 / math.log2(rank + 2)
                for rank, item in enumerate(ranking[:depth])
                if item in wanted
            ]
            ideal = [1 / math.log2(rank + 2) for rank in range(min(depth, len(wanted)))]
            return sum(gains) / sum(ideal)

        found = len(wanted & set(ranking[:20]))
        totals["recall@20"].append(found / min(20, len(wanted)))
        totals["ndcg@100"].append(ndcg(100))
        totals["ndcg@10"].append(ndcg(10))
        totals["hit_rate@10"].append(float(bool(wanted & set(ranking[:10]))))
    return {name: sum(values) / len(values) for name, values in totals.items()}


def test_matches_the_reference_with_ties() -> None:
    split = per_user_split(interactions(), seed=1)
    scores = np.round(np.random.default_rng(0).random(N_ITEMS), 1)
    got = evaluate(split, lambda items, weights: scores)
    assert got.means == pytest.approx(reference(split, scores), rel=1e-12)


def test_training_items_are_masked_and_a_perfect_ranking_scores_one() -> None:
    split = per_user_split(interactions(), seed=1)
    test_pairs, train_pairs = pairs(split.test), pairs(split.train)

    def perfect(
        items: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        owner = next(
            user
            for user in range(split.train.n_users)
            if {i for u, i in train_pairs if u == user} == set(items.tolist())
        )
        scores = np.zeros(N_ITEMS)
        scores[[i for u, i in test_pairs if u == owner]] = 1.0
        scores[items] = 9.0  # would fill the top if they were not masked
        return scores

    assert evaluate(split, perfect).means == pytest.approx(dict.fromkeys(METRICS, 1.0))


def test_random_scores_are_at_chance_and_a_planted_leak_is_not() -> None:
    """Check that the evaluator leaks nothing itself, and shows a leak that a scorer carries.

    The leak is the published one: training negatives are drawn only from items outside train and
    test, so test items are never pushed down. 400 users make the standard error of the mean about
    0.01, so an honest random scorer leaves the band of 0.05 with probability below 1e-5.
    """
    split = per_user_split(interactions(400), seed=1)
    rng = np.random.default_rng(3)
    held_out = [set[int]() for _ in range(400)]
    for owner, item in pairs(split.test):
        held_out[owner].add(item)
    sizes = np.diff(split.train.indptr)
    tested = [user for user in range(400) if held_out[user]]
    chance = np.mean(
        [
            20 / (N_ITEMS - sizes[user]) * len(held_out[user]) / min(20, len(held_out[user]))
            for user in tested
        ]
    )
    honest = evaluate(split, lambda items, weights: rng.random(N_ITEMS)).means["recall@20"]
    assert honest == pytest.approx(float(chance), abs=0.05)

    turn = iter(tested)

    def leaking(
        items: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        del weights
        outside = np.setdiff1d(np.arange(N_ITEMS), [*items.tolist(), *held_out[next(turn)]])
        scores = rng.random(N_ITEMS)
        scores[rng.choice(outside, size=len(outside) // 2, replace=False)] -= 1.0
        return scores

    assert evaluate(split, leaking).means["recall@20"] > honest + 0.1


def test_users_without_held_out_items_are_reported() -> None:
    counts = [1, 4, 5, 10]
    users = np.repeat(np.arange(4), counts)
    items = np.concatenate([np.arange(c) for c in counts])
    profiles = build_profiles(users, items, np.ones(len(items)), n_users=4, n_items=N_ITEMS)
    got = evaluate(per_user_split(profiles), lambda items, weights: np.zeros(N_ITEMS))
    assert (got.users_evaluated, got.users_dropped) == (2, 2)
    assert got.per_user.shape == (2, len(METRICS))


@pytest.mark.parametrize("bad", [np.zeros(N_ITEMS - 1), np.full(N_ITEMS, np.nan)])
def test_refuses_scores_that_are_no_ranking(bad: npt.NDArray[np.float64]) -> None:
    with pytest.raises(BadExperiment):
        evaluate(per_user_split(interactions()), lambda items, weights: bad)


def test_split_is_a_fixed_partition_per_user() -> None:
    profiles = interactions()
    split = per_user_split(profiles, seed=4)
    assert pairs(split.train) | pairs(split.test) == pairs(profiles)
    assert not pairs(split.train) & pairs(split.test)
    assert np.diff(split.test.indptr).tolist() == (np.diff(profiles.indptr) // 5).tolist()
    assert pairs(per_user_split(profiles, seed=4).test) == pairs(split.test)
    assert pairs(per_user_split(profiles, seed=5).test) != pairs(split.test)


@pytest.mark.parametrize(("share", "seed"), [(0.0, 1), (1.0, 1), (0.2, -1)])
def test_refuses_a_split_out_of_range(share: float, seed: int) -> None:
    with pytest.raises(BadExperiment):
        per_user_split(interactions(), test_share=share, seed=seed)
