"""Canaries through whole trainings: the scores against dense algebra, and what is not covered."""

from __future__ import annotations

import numpy as np
import pytest

from tacit.privacy.blocks import IntegerBlocks, dense
from tacit.server.coordinator.learners import FactorizationLearner, PopularityLearner
from tacit.simulations import audit_training
from tacit.simulations.audit_bounds import F_DP, INDEPENDENT, ONE_RUN, Claim, bounds, refuting
from tacit.simulations.audit_scores import CanaryEvidence
from tacit.simulations.audit_training import TrainingShape, training_canaries


def sparse_round(rng: np.random.Generator, users: int, rows: int, width: int) -> IntegerBlocks:
    """Contributions over a few rows each, some rows touched by one user only."""
    touched = [
        np.sort(rng.choice(rows, int(rng.integers(0, 4)), replace=False)) for _ in range(users)
    ]
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in touched])])
    listed = np.concatenate([np.zeros(0, np.int64), *touched]).astype(np.int64)
    values = rng.integers(-40, 40, (len(listed), width))
    return IntegerBlocks(indptr.astype(np.int64), listed, values.astype(np.int64), rows)


def test_scores_are_the_posterior_mean_of_dense_algebra() -> None:
    rng = np.random.default_rng(3)
    users, evidence = 12, CanaryEvidence(12)
    coins = rng.random(users) < 0.5
    information, weighted = np.zeros((users, users)), np.zeros(users)
    for rows, width, sigma in ((30, 1, 25.0), (20, 3, 40.0), (6, 2, 60.0)):
        sent = sparse_round(rng, users, rows, width)
        matrix = np.stack([dense(sent, user) for user in range(users)]).astype(np.float64)
        noise = np.rint(sigma * rng.normal(size=rows * width)).astype(np.int64)
        seen = (coins.astype(np.float64) @ matrix).astype(np.int64) + noise
        evidence.add(sent, seen, sigma)
        information += matrix @ matrix.T / sigma**2
        weighted += matrix @ seen / sigma**2
    half = np.full(users, 0.5)
    expected = np.linalg.solve(information + 4.0 * np.eye(users), weighted - information @ half)
    assert evidence.scores() == pytest.approx(expected, rel=1e-9)
    assert evidence.information() == pytest.approx(np.diag(information), rel=1e-12)


def test_simulated_scores_have_the_law_of_scores() -> None:
    """Means and spreads over 4,000 simulations, within five standard errors."""
    rng = np.random.default_rng(4)
    evidence = CanaryEvidence(8)
    sent = sparse_round(rng, 8, 9, 2)
    evidence.add(sent, np.zeros(18, np.int64), 30.0)
    matrix = np.stack([dense(sent, user) for user in range(8)]) / 30.0
    inverse = np.linalg.inv(matrix @ matrix.T + 4.0 * np.eye(8))
    coins = np.repeat((rng.random(8) < 0.5).astype(np.float64)[:, np.newaxis], 4000, axis=1)
    scores = evidence.simulated_scores(coins, 0.5, rng)
    covariance = 0.25 * inverse @ matrix @ matrix.T @ inverse
    spread = np.sqrt(np.diag(covariance))
    mean = inverse @ matrix @ matrix.T @ (coins[:, 0] - 0.5)
    assert np.all(np.abs(scores.mean(axis=1) - mean) <= 5 * spread / np.sqrt(4000) + 1e-12)
    assert scores.std(axis=1) == pytest.approx(spread, rel=0.1)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_training, "N_TRAINING_CANARIES", 2000)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("learner", [FactorizationLearner.name, PopularityLearner.name])
def test_other_learners_go_through_their_own_rounds(learner: str) -> None:
    statistics = ("popularity/1", "feature_gram/1", "factorization/1")
    rounds = 3 if learner == FactorizationLearner.name else 1
    shape = TrainingShape("t", learner, statistics[:rounds], (0.9, 1.3, 1.4)[:rounds], 8.0, 40)
    result = training_canaries(shape, 1)
    assert result.bounds is not None
    assert 0 < result.bounds.refuted_mu[F_DP] < result.claim.mu
    assert 0.4 < result.strength < 1.01
    assert result.findings == ()


def test_what_is_not_covered_is_said_and_claims_nothing() -> None:
    for learner, statistics in (
        ("linear/1", ("churn_moments/1",)),
        ("spectral/2", ("popularity/1",)),
        ("spectral/9", ("popularity/1", "feature_gram/1", "subspace/1")),
    ):
        shape = TrainingShape("t", learner, statistics, (1.0,) * len(statistics), 8.0, 40)
        result = training_canaries(shape, 1)
        assert result.bounds is None
        assert learner in result.not_covered
        assert result.power == {}


def test_claim_composes_by_mu_squared() -> None:
    one, three = Claim.of([2.0]), Claim.of([2.0, 1.0, 3.0])
    assert one.mu == pytest.approx(0.5, rel=1e-5)
    assert three.mu == pytest.approx((0.25 + 1.0 + 1.0 / 9.0) ** 0.5, rel=1e-5)
    assert one.epsilon < three.epsilon


def test_the_quick_answer_is_that_of_the_bounds() -> None:
    rng = np.random.default_rng(5)
    names: set[str] = set()
    for z in (0.25, 0.5, 1.0, 2.0):
        coins = rng.random(2000) < 0.5
        scores = coins + z * rng.normal(size=2000)
        for claimed in (0.5, 1.0, 3.0, 8.0):
            claim = Claim.of([claimed])
            slow = bounds(scores, coins, 200, threshold=0.5).refuting(claim)
            assert refuting(scores, coins, 200, claim, threshold=0.5) == slow
            names.update(slow)
    assert names == {ONE_RUN, F_DP, INDEPENDENT}
