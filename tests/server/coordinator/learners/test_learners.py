"""Learners: contract, determinism, what is learned, what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from tacit.server.coordinator.learners import (
    BadHistory,
    BadPlan,
    Learner,
    NoisedSum,
    PopularityLearner,
    SpectralLearner,
    integer_norm_for,
)
from tacit.server.coordinator.learners.item_popularity import item_distribution
from tacit.server.coordinator.learners.shrinkage import isotonic, shrink_columns

N_USERS, N_ITEMS, RANK = 3000, 80, 3
FloatArray = npt.NDArray[np.float64]


@cache
def truth() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw binary profiles whose log-odds follow a few tastes; return them, features, loadings."""
    rng = np.random.default_rng(6)
    loadings = rng.normal(0.0, 1.0, (N_ITEMS, RANK))
    tastes = rng.normal(0.0, 1.0, (N_USERS, RANK))
    odds = np.exp(tastes @ loadings.T + rng.normal(-2.5, 0.4, N_ITEMS))
    profiles = (rng.random((N_USERS, N_ITEMS)) < odds / (1.0 + odds)).astype(np.float64)
    features = (loadings[:, :2] > 0.0).astype(np.float64)
    return profiles[profiles.sum(axis=1) > 0], features, loadings


@cache
def run(
    learner: PopularityLearner | SpectralLearner, noise: float = 0.0, seed: int = 0
) -> list[NoisedSum]:
    """Run all rounds densely, straight from the definitions of the statistics."""
    profiles, rng = truth()[0], np.random.default_rng(seed)
    history: list[NoisedSum] = []
    for spec in learner.rounds():
        context = learner.context(spec.round_id, tuple(history))
        weights = context.get("item_weights", np.ones(N_ITEMS)).astype(np.float64)
        rows = profiles * weights
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if spec.statistic == "popularity/1":
            each = rows
        else:
            projected = rows @ context["basis"].astype(np.float64)
            if spec.statistic == "subspace/1":
                each = np.einsum("ui,uk->uik", rows, projected)
            elif spec.statistic == "cross_gram/1":
                turned = projected @ context["turn"].astype(np.float64)
                unit = projected / np.linalg.norm(projected, axis=1, keepdims=True)
                each = np.einsum("up,uk->upk", unit, turned)
            else:
                upper, lower = np.triu_indices(projected.shape[1])
                scale = np.where(upper == lower, 1.0, math.sqrt(2.0))
                each = projected[:, upper] * projected[:, lower] * scale
        each = each.reshape(len(profiles), -1)
        norms = np.linalg.norm(each, axis=1, keepdims=True)
        each = each * np.minimum(1.0, spec.clipping_norm / np.maximum(norms, 1e-12))
        std = noise * spec.clipping_norm
        values = each.sum(axis=0) + std * rng.standard_normal(spec.length)
        history.append(NoisedSum(spec.round_id, spec.statistic, values, std))
    return history


def spectral(
    epsilon: float, *, features: bool = True, rounds: int | None = None
) -> SpectralLearner:
    given = truth()[1] if features else None
    return SpectralLearner(N_ITEMS, N_USERS, epsilon, features=given, rounds=rounds)


LEARNERS = [
    pytest.param(PopularityLearner(N_ITEMS), id="popularity"),
    pytest.param(spectral(8.0), id="spectral"),
    pytest.param(spectral(8.0, features=False), id="spectral-without-features"),
    pytest.param(spectral(math.inf), id="spectral-without-noise"),
]


@pytest.mark.parametrize("learner", LEARNERS)
def test_plan_is_public_and_complete(learner: Learner) -> None:
    specs = learner.rounds()
    assert [spec.round_id for spec in specs] == list(range(1, len(specs) + 1))
    assert math.fsum(spec.budget_share for spec in specs) == pytest.approx(1.0, abs=1e-12)
    assert all(0 < spec.clipping_norm < math.inf and spec.length > 0 for spec in specs)
    assert learner.rounds() == specs


@pytest.mark.parametrize("learner", LEARNERS)
def test_same_history_gives_bit_identical_contexts_and_models(
    learner: PopularityLearner | SpectralLearner,
) -> None:
    history = run(learner, noise=1.0)
    copies = [NoisedSum(h.round_id, h.statistic, h.values.copy(), h.noise_std) for h in history]
    for spec in learner.rounds():
        first = learner.context(spec.round_id, history[: spec.round_id - 1])
        again = learner.context(spec.round_id, copies[: spec.round_id - 1])
        assert {k: v.tobytes() for k, v in first.items()} == {
            k: v.tobytes() for k, v in again.items()
        }
    first, again = learner.model(history), learner.model(copies)
    assert {k: v.tobytes() for k, v in first.items()} == {k: v.tobytes() for k, v in again.items()}


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_prefix_yields_a_usable_model(
    learner: PopularityLearner | SpectralLearner,
) -> None:
    history = run(learner, noise=1.0)
    for size in range(1, len(history) + 1):
        model = learner.model(history[:size])
        assert model["popularity"].shape == model["item_variance"].shape == (N_ITEMS,)
        assert model["loadings"].shape == (N_ITEMS, len(model["prior_variance"]))
        for name in ("popularity", "item_variance", "prior_variance"):
            assert np.all(np.isfinite(model[name]))
            assert model[name].min() > 0.0
        assert np.all(np.isfinite(model["loadings"]))


@pytest.mark.parametrize("features", [True, False])
def test_finds_the_planted_tastes(features: bool) -> None:
    learner = spectral(math.inf, features=features)
    model = learner.model(run(learner))
    profiles, _, loadings = truth()
    share = (profiles / profiles.sum(axis=1, keepdims=True)).mean(axis=0)
    planted = np.linalg.qr(share[:, np.newaxis] * (loadings - share @ loadings))[0]
    found = np.linalg.qr(model["loadings"][:, :RANK].astype(np.float64))[0]
    # Cosines of the principal angles between the planted and the leading learned directions.
    cosines = np.linalg.svd(planted.T @ found)[1]
    assert cosines.min() > 0.8


@pytest.mark.parametrize("features", [True, False])
def test_noise_alone_gives_the_popularity_ranking(features: bool) -> None:
    """Sums of pure noise must not invent tastes; a false alarm has probability below 1e-3."""
    learner = spectral(8.0, features=features)
    rng = np.random.default_rng(1)
    history = [
        NoisedSum(spec.round_id, spec.statistic, 50.0 * rng.standard_normal(spec.length), 50.0)
        for spec in learner.rounds()
    ]
    assert not np.any(learner.model(history)["loadings"])
    assert np.any(learner.model(run(learner, noise=0.5))["loadings"])


def test_basis_ignores_an_average_profile() -> None:
    learner = spectral(8.0)
    history = run(learner, noise=0.5)
    context = learner.context(len(history), history[:-1])
    distribution = item_distribution(history[0])
    average = context["item_weights"].astype(np.float64) * distribution
    projected = average @ context["basis"].astype(np.float64)
    assert np.linalg.norm(projected) < 1e-2 * np.linalg.norm(average)


def test_context_is_bound_to_exactly_the_rounds_before() -> None:
    learner = spectral(8.0)
    history = run(learner, noise=1.0)
    with pytest.raises(BadHistory, match="expected 1 earlier rounds, got 2"):
        learner.context(2, history[:2])
    with pytest.raises(BadHistory):
        learner.context(len(history) + 1, history)
    with pytest.raises(BadHistory):
        learner.model([])


@pytest.mark.parametrize(
    "broken",
    [
        NoisedSum(2, "popularity/1", np.zeros(N_ITEMS), 1.0),
        NoisedSum(1, "subspace/1", np.zeros(N_ITEMS), 1.0),
        NoisedSum(1, "popularity/1", np.zeros(N_ITEMS + 1), 1.0),
        NoisedSum(1, "popularity/1", np.full(N_ITEMS, np.nan), 1.0),
        NoisedSum(1, "popularity/1", np.zeros(N_ITEMS), -1.0),
        NoisedSum(1, "popularity/1", np.zeros(N_ITEMS), math.inf),
    ],
)
@pytest.mark.parametrize("learner", LEARNERS)
def test_refuses_sums_that_do_not_fit(learner: Learner, broken: NoisedSum) -> None:
    with pytest.raises(BadHistory):
        learner.model([broken])


@pytest.mark.parametrize(
    ("n_items", "cohort", "epsilon", "rounds"),
    [
        (1, 10, 1.0, None),
        (10, 0, 1.0, None),
        (10, 10, 0.0, None),
        (10, 10, -1.0, None),
        (10, 10, math.nan, None),
        (10, 10, 1.0, 1),
    ],
)
def test_refuses_a_bad_plan(n_items: int, cohort: int, epsilon: float, rounds: int | None) -> None:
    with pytest.raises(BadPlan):
        SpectralLearner(n_items, cohort, epsilon, rounds=rounds)


@pytest.mark.parametrize(
    "features", [np.ones(N_ITEMS), np.ones((3, 2)), np.full((N_ITEMS, 1), np.nan)]
)
def test_refuses_bad_features(features: FloatArray) -> None:
    with pytest.raises(BadPlan):
        SpectralLearner(N_ITEMS, 10, 1.0, features=features)


def test_rounds_option_sets_the_total() -> None:
    assert len(spectral(8.0, rounds=5).rounds()) == 5
    assert len(spectral(8.0, features=False, rounds=3).rounds()) == 3


def test_item_distribution_shrinks_noise() -> None:
    rng = np.random.default_rng(2)
    sums = np.concatenate([np.full(300, 2.0), np.full(30, 100.0)])
    noised = NoisedSum(1, "popularity/1", sums + 10.0 * rng.standard_normal(330), 10.0)
    got, raw = item_distribution(noised), np.maximum(noised.values, 0.05)
    wanted = sums / sums.sum()
    assert got.sum() == pytest.approx(1.0)
    assert got.min() > 0.0
    assert np.abs(got - wanted).sum() < 0.5 * np.abs(raw / raw.sum() - wanted).sum()


def test_isotonic_matches_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, weights = rng.normal(size=8), rng.uniform(0.5, 2.0, 8)
        # Max-min formula of isotonic regression (Barlow et al. 1972, theorem 1.4).
        wanted = [
            max(
                min(
                    float(np.average(values[s : e + 1], weights=weights[s : e + 1]))
                    for e in range(i, 8)
                )
                for s in range(i + 1)
            )
            for i in range(8)
        ]
        np.testing.assert_allclose(isotonic(values, weights), wanted, atol=1e-12)


def test_shrinkage_keeps_signal_and_removes_noise() -> None:
    rng = np.random.default_rng(4)
    signal = np.zeros((400, 1))
    signal[200:] = 5.0 * rng.standard_normal((200, 1))
    noisy = signal + rng.standard_normal((400, 1))
    groups = np.array_split(np.arange(400, dtype=np.intp), 10)
    shrunk = shrink_columns(noisy, 1.0, groups)
    assert np.sum((shrunk - signal) ** 2) < 0.6 * np.sum((noisy - signal) ** 2)
    assert np.sum(shrunk[:200] ** 2) < 0.1 * np.sum(noisy[:200] ** 2)
    np.testing.assert_array_equal(shrink_columns(noisy, 0.0, groups), noisy)


@pytest.mark.parametrize(("length", "norm"), [(100, 4096), (1_000_000, 4096), (4_000_000, 8192)])
def test_integer_norm_rule(length: int, norm: int) -> None:
    assert integer_norm_for(length) == norm


def test_integer_norm_has_a_limit() -> None:
    lengths: Sequence[int] = (10**8, 10**9)
    for length in lengths:
        with pytest.raises(BadPlan):
            integer_norm_for(length)
