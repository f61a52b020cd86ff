"""The linear read-out: exact shares, calibrated probabilities, propensities that are true."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tacit.client.decide import BadHistory, BadModel, LinearModel
from tacit.client.decide.linear import (
    attribution,
    best_probabilities,
    choose_thompson,
    choose_ucb,
    predict,
    probabilities,
)

D, ACTIONS = 4, 3
X = np.array([1.0, 0.3, -0.6, 0.9])


def arrays(seed: int = 0) -> dict[str, npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    roots = rng.normal(0.0, 0.08, (ACTIONS, D, D))
    return {
        "coefficients": rng.normal(0.3, 0.15, (ACTIONS, D)),
        "covariance": roots @ np.swapaxes(roots, 1, 2),
        "means": np.column_stack([np.ones(ACTIONS), rng.uniform(-0.5, 0.5, (ACTIONS, D - 1))]),
        "base_rate": rng.uniform(0.2, 0.6, ACTIONS),
        "residual_variance": np.full(ACTIONS, 0.15),
        "drowned": np.zeros(ACTIONS),
    }


def consistent() -> LinearModel:
    """Make a model whose score at the means is the base rate, as the learner releases it."""
    held = arrays()
    rest = np.sum(held["coefficients"][:, 1:] * held["means"][:, 1:], axis=1)
    held["coefficients"][:, 0] = held["base_rate"] - rest
    return LinearModel.from_arrays(held)


def test_shares_add_up_and_each_is_what_its_feature_is_worth() -> None:
    model = consistent()
    for block in range(ACTIONS):
        shares = attribution(model, X, block)
        score = predict(model, X, block).score
        assert float(model.base_rate[block] + np.sum(shares)) == pytest.approx(score, abs=1e-12)
        assert shares[0] == 0.0
        for feature in range(1, D):
            usual = X.copy()
            usual[feature] = model.means[block, feature]
            fallen = score - predict(model, usual, block).score
            assert fallen == pytest.approx(shares[feature], abs=1e-12)


def test_interval_is_the_posterior_deviation() -> None:
    model = consistent()
    told = predict(model, X, 1, deviations=2.0)
    error = float(np.sqrt(X @ model.covariance[1] @ X))
    assert (told.low, told.high) == pytest.approx((told.score - 2 * error, told.score + 2 * error))


def test_thompson_propensities_match_draws_from_the_posterior() -> None:
    """200,000 draws leave 0.006 with probability below 1e-6."""
    model, rng = consistent(), np.random.default_rng(3)
    draws = np.stack(
        [
            rng.multivariate_normal(model.coefficients[a], model.covariance[a], 200_000) @ X
            for a in range(ACTIONS)
        ]
    )
    drawn = np.bincount(np.argmax(draws, axis=0), minlength=ACTIONS) / 200_000
    computed = best_probabilities(model, X)
    np.testing.assert_allclose(computed, drawn, atol=0.006)
    assert float(np.sum(computed)) == pytest.approx(1.0)
    assert float(computed.min()) > 0.01


def test_choices_follow_their_propensities_and_keep_the_floor() -> None:
    model = consistent()
    for choose in (choose_thompson, choose_ucb):
        chosen = [choose(model, X, (n + 0.5) / 4000, floor=0.05) for n in range(4000)]
        for action in range(ACTIONS):
            mine = [c for c in chosen if c.action == action]
            assert mine, "every action has its floor"
            assert len({c.propensity for c in mine}) == 1
            assert mine[0].propensity >= 0.05 - 1e-12
            assert len(mine) / 4000 == pytest.approx(mine[0].propensity, abs=0.001)
    best = int(np.argmax([predict(model, X, a, deviations=1.0).high for a in range(ACTIONS)]))
    assert choose_ucb(model, X, 0.5, floor=0.0).action == best


def test_probability_is_that_of_normal_classes() -> None:
    """Two normal classes: log-odds are known, and least squares must lead to them."""
    rng = np.random.default_rng(8)
    n, shift = 200_000, 0.25
    y = (rng.random(n) < 0.3).astype(np.float64)
    x = np.column_stack([np.ones(n), rng.normal(0.0, 0.15, n) + shift * y])
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    model = LinearModel.from_arrays(
        {
            "coefficients": beta[np.newaxis],
            "covariance": np.zeros((1, 2, 2)),
            "means": x.mean(axis=0)[np.newaxis],
            "base_rate": np.array([y.mean()]),
            "residual_variance": np.array([np.mean((y - x @ beta) ** 2)]),
            "drowned": np.zeros(1),
        }
    )
    points = np.column_stack([np.ones(5), np.linspace(-0.2, 0.6, 5)])
    log_odds = np.log(0.3 / 0.7) + shift * (points[:, 1] - shift / 2) / 0.15**2
    np.testing.assert_allclose(
        probabilities(model, points), 1 / (1 + np.exp(-log_odds)), atol=0.015
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"covariance": None}, "covariance"),
        ({"means": np.ones((ACTIONS, D + 1))}, "means of shape"),
        ({"coefficients": np.full((ACTIONS, D), np.nan)}, "finite coefficients"),
        ({"coefficients": np.ones(D)}, "coefficients of shape"),
        ({"covariance": -np.tile(np.eye(D), (ACTIONS, 1, 1))}, "variances"),
        ({"residual_variance": -np.ones(ACTIONS)}, "variances"),
        ({"base_rate": np.full(ACTIONS, 1.5)}, "base_rate"),
    ],
)
def test_refuses_arrays_that_are_no_model(
    change: dict[str, npt.NDArray[np.float64] | None], message: str
) -> None:
    given = {name: array for name, array in {**arrays(), **change}.items() if array is not None}
    with pytest.raises(BadModel, match=message):
        LinearModel.from_arrays(given)


def test_refuses_features_and_draws_that_do_not_fit() -> None:
    model = consistent()
    for bad in (X[:2], X * 2.0, np.full(D, np.nan)):
        with pytest.raises(BadHistory):
            predict(model, bad)
    with pytest.raises(BadHistory, match="block"):
        predict(model, X, ACTIONS)
    for uniform, floor in ((1.0, 0.0), (-0.1, 0.0), (0.5, 0.4), (0.5, -0.1), (np.nan, 0.0)):
        with pytest.raises(BadHistory):
            choose_thompson(model, X, uniform, floor=floor)
