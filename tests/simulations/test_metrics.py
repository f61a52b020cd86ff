"""Full-ranking metrics against a slow reference."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.statistics import Profiles, build_profiles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.metrics import METRICS, evaluate
from tacit.simulations.splits import Split, per_user_split
from tacit.simulations.trained import Scorer

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
        first = next(rank for rank, item in enumerate(ranking, start=1) if item in wanted)
        totals["mrr"].append(1 / first)
    return {name: sum(values) / len(values) for name, values in totals.items()}


def constant(scores: npt.NDArray[np.float64]) -> Scorer:
    return lambda profiles: np.tile(scores, (profiles.n_users, 1))


def test_matches_the_reference_with_ties() -> None:
    split = per_user_split(interactions(), seed=1)
    for seed in range(5):
        scores = np.round(np.random.default_rng(seed).random(N_ITEMS), seed % 3)
        got = evaluate(split, constant(scores))
        assert got.means == pytest.approx(reference(split, scores), rel=1e-12)


def test_batches_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    split = per_user_split(interactions(40), seed=1)
    table = np.random.default_rng(0).random((40, N_ITEMS))
    turn = iter(np.split(table, 40))

    def scorer(profiles: Profiles) -> npt.NDArray[np.float64]:
        return np.concatenate([next(turn) for _ in range(profiles.n_users)])

    among = np.diff(split.test.indptr) > 0
    whole = evaluate(split, lambda profiles: table[among])
    turn = iter(np.split(table[among], int(among.sum())))
    monkeypatch.setattr("tacit.simulations.metrics._BATCH_SCORES", 7 * N_ITEMS)
    told: list[float] = []
    parts = evaluate(split, scorer, told.append)
    np.testing.assert_array_equal(whole.per_user, parts.per_user)
    np.testing.assert_array_equal(whole.shown, parts.shown)
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_seen_items_are_masked_and_a_perfect_ranking_scores_one() -> None:
    split = per_user_split(interactions(), seed=1)
    scores = np.zeros((12, N_ITEMS))
    scores[split.test.users, split.test.items] = 1.0
    scores[split.train.users, split.train.items] = 9.0  # would fill the top if not masked
    got = evaluate(split, lambda profiles: scores[np.diff(split.test.indptr) > 0])
    assert got.means == pytest.approx(dict.fromkeys(METRICS, 1.0))
    for user, shown in zip(got.users.tolist(), got.shown, strict=True):
        assert not {(user, int(item)) for item in shown} & pairs(split.train)


def test_only_those_asked_for_are_evaluated() -> None:
    split = per_user_split(interactions(), seed=1)
    among = np.arange(12) % 2 == 0
    got = evaluate(split, constant(np.random.default_rng(0).random(N_ITEMS)), among=among)
    assert set(got.users.tolist()) <= {0, 2, 4, 6, 8, 10}
    assert got.users_evaluated + got.users_dropped == 6


def test_users_without_held_out_items_are_reported() -> None:
    counts = [1, 4, 5, 10]
    users = np.repeat(np.arange(4), counts)
    items = np.concatenate([np.arange(c) for c in counts])
    profiles = build_profiles(users, items, np.ones(len(items)), n_users=4, n_items=N_ITEMS)
    got = evaluate(per_user_split(profiles), constant(np.zeros(N_ITEMS)))
    assert (got.users_evaluated, got.users_dropped) == (2, 2)
    assert got.per_user.shape == (2, len(METRICS))


def test_a_user_who_saw_all_but_one_item_has_one_place() -> None:
    profiles = build_profiles(
        np.zeros(5, dtype=np.int64), np.arange(5), np.ones(5), n_users=1, n_items=5
    )
    got = evaluate(per_user_split(profiles), lambda profiles: np.zeros((1, 5)))
    assert got.means == pytest.approx(dict.fromkeys(METRICS, 1.0))
    assert np.count_nonzero(got.shown >= 0) == 1


@pytest.mark.parametrize("bad", [np.zeros(N_ITEMS - 1), np.full(N_ITEMS, np.nan)])
def test_refuses_scores_that_are_no_ranking(bad: npt.NDArray[np.float64]) -> None:
    with pytest.raises(BadExperiment, match="finite scores"):
        evaluate(per_user_split(interactions()), constant(bad))
    with pytest.raises(BadExperiment, match="at least one user"):
        evaluate(per_user_split(interactions()), constant(bad), among=np.zeros(12, dtype=np.bool_))


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
