"""The linear learner: an oracle without noise, honesty with it, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.decide.linear import LinearModel, predict
from tacit.client.statistics import HISTORY_STATISTICS
from tacit.client.statistics.design import DesignRows, rows_of
from tacit.client.statistics.linear import linear_moments
from tacit.client.statistics.targets import bandit, churn, intent
from tacit.server.coordinator.learners import (
    BadHistory,
    BadPlan,
    LinearLearner,
    LinearTarget,
    NoisedSum,
    linear_target,
)
from tacit.server.coordinator.learners.linear import TARGETS, clipping_norm_for, regress

FloatArray = npt.NDArray[np.float64]
D, N = 6, 3000
TRUTH = np.array([0.45, 0.2, -0.15, 0.1, 0.0, 0.0])


def design(seed: int = 0, n: int = N) -> DesignRows:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.uniform(-1.0, 1.0, (n, D - 1))])
    y = (rng.random(n) < x @ TRUTH).astype(np.float64)
    return rows_of(np.arange(n), n, x, y)


def summed(rows: DesignRows, sigma: float = 0.0, seed: int = 1) -> FloatArray:
    exact = linear_moments(rows).values.sum(axis=0)
    return np.asarray(exact + sigma * np.random.default_rng(seed).standard_normal(len(exact)))


def test_without_noise_equals_lstsq_ridge() -> None:
    rows = design()
    fit = regress(summed(rows), D, 0.0)
    x, y = rows.features[:, 1:], rows.targets
    centred, slope = x - x.mean(axis=0), y - y.mean()
    # The prior variance by its stated rule, from raw data; then an independent augmented lstsq.
    gram, moment = centred.T @ centred, centred.T @ slope
    squares = max(float(np.sum(gram**2)), float(np.trace(gram)) ** 2 / (D - 1))
    ridge = float(y.mean() * (1 - y.mean())) / (float(moment @ moment) / squares)
    stacked = np.vstack([centred, math.sqrt(ridge) * np.eye(D - 1)])
    want = np.linalg.lstsq(stacked, np.concatenate([slope, np.zeros(D - 1)]), rcond=None)[0]
    np.testing.assert_allclose(fit["coefficients"][1:], want, rtol=1e-9)
    intercept = y.mean() - x.mean(axis=0) @ want
    assert float(fit["coefficients"][0]) == pytest.approx(intercept)
    plain = np.linalg.lstsq(rows.features, y, rcond=None)[0]
    np.testing.assert_allclose(fit["coefficients"], plain, atol=0.01)
    errors = y - rows.features @ plain
    assert float(fit["residual_variance"]) == pytest.approx(float(np.mean(errors**2)), rel=0.02)
    assert float(fit["drowned"]) == 0.0


@pytest.mark.parametrize("sigma", [0.0, 5.0, 15.0, 25.0])
def test_intervals_cover_the_truth(sigma: float) -> None:
    """95% intervals hold the expected target in at least 88% of 2,000 draws; seeds are fixed."""
    held: list[bool] = []
    for seed in range(40):
        fit = regress(summed(design(seed, 1000), sigma, seed + 99), D, sigma)
        if float(fit["drowned"]):
            continue
        model = LinearModel.from_arrays({name: array[np.newaxis] for name, array in fit.items()})
        for x in design(seed + 500, 50).features:
            told = predict(model, x)
            held.append(told.low <= float(x @ TRUTH) <= told.high)
    assert len(held) >= 1000
    assert float(np.mean(held)) >= 0.88


@pytest.mark.parametrize("sigma", [1.0, 30.0, 200.0, 1e4])
def test_covariance_is_positive_semi_definite_and_all_is_finite(sigma: float) -> None:
    for seed in range(30):
        fit = regress(summed(design(0, 300), sigma, seed), D, sigma)
        assert all(bool(np.all(np.isfinite(array))) for array in fit.values())
        assert float(np.linalg.eigvalsh(fit["covariance"]).min()) >= -1e-9
        assert 0.0 <= float(fit["base_rate"]) <= 1.0


def test_pure_noise_is_called_noise_and_the_mean_is_used() -> None:
    """Without signal, 2 deviations of a chi-square are passed by fewer than 1 in 10."""
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(N), rng.uniform(-1, 1, (N, D - 1))])
    rows = rows_of(np.arange(N), N, x, (rng.random(N) < 0.3).astype(np.float64))
    fits = [regress(summed(rows, 100.0, seed), D, 100.0) for seed in range(100)]
    drowned = [fit for fit in fits if float(fit["drowned"])]
    assert len(drowned) >= 85
    for fit in drowned:
        assert not np.any(fit["coefficients"][1:])
        assert float(fit["coefficients"][0]) == float(fit["base_rate"])
    nobody = regress(summed(rows, 1e5), D, 1e5)
    assert (float(nobody["drowned"]), float(nobody["base_rate"])) == (1.0, 0.5)


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_a_constant_target_is_predicted_as_it_is(constant: float) -> None:
    rows = design()
    same = rows_of(rows.users, N, rows.features, np.full(N, constant))
    fit = regress(summed(same), D, 0.0)
    assert float(fit["base_rate"]) == pytest.approx(constant)
    np.testing.assert_allclose(rows.features @ fit["coefficients"], constant, atol=1e-6)


def test_registry_states_what_the_client_computes() -> None:
    for name, target in (("churn", churn), ("intent", intent), ("bandit", bandit)):
        statistic, width, _ = TARGETS[name]
        assert (statistic, width) == (target.NAME, len(target.FEATURES))
    assert {statistic for statistic, _, _ in TARGETS.values()} == set(HISTORY_STATISTICS)


def test_plan_is_one_public_round() -> None:
    parameters = {"actions": 4.0, "from_s": 0.0, "as_of_s": 1e9, "window_s": 60.0}
    learner = LinearLearner(linear_target("bandit", parameters))
    (spec,) = learner.rounds()
    assert (spec.statistic, spec.length, spec.budget_share) == ("bandit_moments/1", 4 * 27, 1.0)
    assert spec.parameters == parameters
    assert spec.clipping_norm == clipping_norm_for(6) == pytest.approx(math.sqrt(3.5 * 4.5))
    assert learner.context(1, ()) == {}
    model = learner.model([NoisedSum(1, spec.statistic, np.zeros(spec.length), 1.0)])
    assert model["coefficients"].shape == (4, 6)
    assert model["drowned"].tolist() == [1.0] * 4
    with pytest.raises(BadHistory, match="108 values"):
        learner.model([NoisedSum(1, spec.statistic, np.zeros(5), 1.0)])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mood", {}),
        ("churn", {}),
        ("churn", {"as_of_s": 1.0, "horizon_days": 7.0, "cutoffs": 2.0, "more": 1.0}),
        ("churn", {"as_of_s": math.nan, "horizon_days": 7.0, "cutoffs": 2.0}),
    ],
)
def test_refuses_targets_that_are_not_whole(name: str, parameters: dict[str, float]) -> None:
    with pytest.raises(BadPlan, match="expected"):
        linear_target(name, parameters)


def test_refuses_sums_that_no_integer_norm_can_carry() -> None:
    with pytest.raises(BadPlan, match="int16"):
        LinearLearner(LinearTarget("churn_moments/1", 20_000, 1, {}))
    with pytest.raises(BadPlan, match="2 features"):
        LinearLearner(LinearTarget("churn_moments/1", 1, 1, {}))
