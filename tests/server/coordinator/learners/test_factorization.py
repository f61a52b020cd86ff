"""Learner `factorization/1`: contract, determinism, what is learned, what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.decide import FactorModel, Model, read_model, scores
from tacit.client.statistics import STATISTICS, Profiles, build_profiles
from tacit.privacy.quantize import clip
from tacit.server.coordinator.learners import (
    BadHistory,
    BadPlan,
    FactorizationLearner,
    NoisedSum,
    integer_norm_for,
)

N_USERS, N_ITEMS, RANK = 800, 60, 3


def people() -> tuple[Profiles, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Draw profiles whose log-odds follow a few tastes; return them, features and the odds."""
    rng = np.random.default_rng(6)
    loadings = rng.normal(0.0, 1.0, (N_ITEMS, RANK))
    tastes = rng.normal(0.0, 1.0, (N_USERS, RANK))
    odds = tastes @ loadings.T + rng.normal(-2.0, 0.4, N_ITEMS)
    users, items = np.nonzero(rng.random((N_USERS, N_ITEMS)) < 1.0 / (1.0 + np.exp(-odds)))
    weights = np.ones(len(users))
    profiles = build_profiles(users, items, weights, n_users=N_USERS, n_items=N_ITEMS)
    return profiles, (loadings[:, :2] > 0.0).astype(np.float64), odds


PROFILES, FEATURES, ODDS = people()


def learner(epsilon: float = 8.0, features: bool = True, **given: Any) -> FactorizationLearner:
    return FactorizationLearner(
        N_ITEMS, N_USERS, epsilon, features=FEATURES if features else None, **given
    )


def run(one: FactorizationLearner, noise: float = 0.0) -> list[NoisedSum]:
    """Run all rounds with devices' statistics, clipped but not rounded."""
    rng = np.random.default_rng(1)
    history: list[NoisedSum] = []
    for spec in one.rounds():
        context = one.context(spec.round_id, history)
        blocks = clip(
            STATISTICS[spec.statistic](PROFILES, context, spec.parameters), spec.clipping_norm
        )
        total = np.zeros((blocks.n_rows, blocks.width))
        np.add.at(total, blocks.rows, blocks.values)
        std = noise * spec.clipping_norm
        values = total.reshape(-1) + std * rng.standard_normal(spec.length)
        history.append(NoisedSum(spec.round_id, spec.statistic, values, std))
    return history


def agreement(model: FactorModel | Model) -> float:
    """Correlate scores of items people do not have with their true odds, mean over people."""
    found: list[float] = []
    for user in range(100):
        mine = slice(int(PROFILES.indptr[user]), int(PROFILES.indptr[user + 1]))
        items, weights = PROFILES.items[mine], PROFILES.weights[mine]
        rest = np.setdiff1d(np.arange(N_ITEMS), items)
        got = scores(model, items, weights)[rest]
        if len(items) and np.std(got) > 0:
            found.append(float(np.corrcoef(got, ODDS[user][rest])[0, 1]))
    return float(np.mean(found))


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("epsilon", [1.0, 8.0, math.inf])
def test_plan_is_public_and_complete(features: bool, epsilon: float) -> None:
    specs = learner(epsilon, features).rounds()
    assert [spec.round_id for spec in specs] == list(range(1, len(specs) + 1))
    assert math.fsum(spec.budget_share for spec in specs) == pytest.approx(1.0, abs=1e-12)
    assert len(specs) <= 6


@pytest.mark.parametrize(
    ("n_items", "cohort", "epsilon"),
    [(1682, 943, 8.0), (3883, 6040, 8.0), (3883, 6040, math.inf), (3706, 6040, 1.0)],
)
def test_upload_keeps_to_half_a_megabyte(n_items: int, cohort: int, epsilon: float) -> None:
    features = np.eye(n_items, 28)
    specs = FactorizationLearner(n_items, cohort, epsilon, features=features).rounds()
    assert sum(2 * spec.length for spec in specs) <= 500_000
    assert all(integer_norm_for(spec.length) <= 32767 for spec in specs)


def test_same_history_gives_bit_identical_contexts_and_models() -> None:
    one = learner(rounds=4)
    history = run(one, noise=1.0)
    copies = [dataclasses.replace(h, values=h.values.copy()) for h in history]
    for spec in one.rounds():
        first = one.context(spec.round_id, history[: spec.round_id - 1])
        again = learner(rounds=4).context(spec.round_id, copies[: spec.round_id - 1])
        assert {k: v.tobytes() for k, v in first.items()} == {
            k: v.tobytes() for k, v in again.items()
        }
    first, again = one.model(history), one.model(copies)
    assert {k: v.tobytes() for k, v in first.items()} == {k: v.tobytes() for k, v in again.items()}


@pytest.mark.parametrize("features", [True, False])
def test_every_prefix_yields_a_usable_model(features: bool) -> None:
    one = learner(features=features)
    history = run(one, noise=1.0)
    for size in range(1, len(history) + 1):
        assert read_model(one.model(history[:size])).n_items == N_ITEMS


@pytest.mark.parametrize("features", [True, False])
def test_finds_the_planted_tastes(features: bool) -> None:
    one = learner(math.inf, features)
    history = run(one)
    learnt = agreement(read_model(one.model(history)))
    start = agreement(read_model(one.model(history[:1])))
    assert learnt > 0.45
    assert learnt > start + 0.15, start


def test_a_gradient_round_improves_on_what_features_say() -> None:
    one = learner(math.inf)
    history = run(one)
    warm = agreement(read_model(one.model(history[:2])))
    assert agreement(read_model(one.model(history))) > warm + 0.05


@pytest.mark.parametrize("features", [True, False])
def test_noise_alone_gives_the_popularity_ranking(features: bool) -> None:
    """Sums of pure noise must not invent tastes; a false alarm has probability below 1e-2."""
    one = learner(features=features)
    rng = np.random.default_rng(1)
    history = [
        NoisedSum(spec.round_id, spec.statistic, 50.0 * rng.standard_normal(spec.length), 50.0)
        for spec in one.rounds()
    ]
    assert isinstance(read_model(one.model(history)), Model)
    assert not np.any(one.model(history)["loadings"])
    assert isinstance(read_model(one.model(run(one, noise=0.5))), FactorModel)


def test_smallest_catalogue_and_features_that_say_nothing() -> None:
    for features in (None, np.zeros((2, 3)), np.ones((2, 1))):
        one = FactorizationLearner(2, 5, 1.0, features=features)
        history: list[NoisedSum] = []
        for spec in one.rounds():
            one.context(spec.round_id, history)
            history.append(NoisedSum(spec.round_id, spec.statistic, np.ones(spec.length), 0.5))
        assert read_model(one.model(history)).n_items == 2


@pytest.mark.parametrize(
    ("n_items", "cohort", "epsilon", "rounds", "message"),
    [
        (1, 10, 1.0, None, "2 items"),
        (10, 0, 1.0, None, "cohort"),
        (10, 10, 0.0, None, "epsilon"),
        (10, 10, math.nan, None, "epsilon"),
        (10, 10, 1.0, 1, "at least 3 rounds"),
    ],
)
def test_refuses_impossible_plans(
    n_items: int, cohort: int, epsilon: float, rounds: int | None, message: str
) -> None:
    with pytest.raises(BadPlan, match=message):
        FactorizationLearner(n_items, cohort, epsilon, rounds=rounds)


@pytest.mark.parametrize(
    "features", [np.ones((N_ITEMS - 1, 2)), np.ones(N_ITEMS), np.full((N_ITEMS, 2), np.nan)]
)
def test_refuses_features_with_missing_rows_or_values(features: npt.NDArray[np.float64]) -> None:
    with pytest.raises(BadPlan, match="features"):
        FactorizationLearner(N_ITEMS, 10, 1.0, features=features)


def test_refuses_histories_that_do_not_fit() -> None:
    one = learner()
    history = run(one)
    with pytest.raises(BadHistory):
        one.context(3, history[:1])
    with pytest.raises(BadHistory):
        one.context(99, history)
    with pytest.raises(BadHistory):
        one.model([])
