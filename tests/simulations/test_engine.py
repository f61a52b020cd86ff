"""The vectorised engine: real sums, real noise, and learning that beats popularity."""

from __future__ import annotations

import math
import os
import random

import numpy as np
import pytest

from tacit.client.statistics import contributions
from tacit.privacy.quantize import dense
from tacit.server.coordinator.learners import RoundSpec, SpectralLearner
from tacit.server.coordinator.noise import decoded, noised
from tacit.server.coordinator.plan import plan_round
from tacit.simulations.engine import integer_round_sum, run
from tacit.simulations.errors import BadExperiment
from tacit.simulations.population import generate
from tacit.simulations.simulate import SimulationOptions, default_delta, simulate

DIGEST = b"d" * 32


def test_sum_over_chunks_equals_the_sum_of_single_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.simulations.engine._CHUNK_BLOCKS", 100)
    data = generate(30, 60, seed=2)
    profiles = data.profiles()
    secrets = [os.urandom(32) for _ in range(30)]
    learner = SpectralLearner(60, 30, 8.0, features=data.features)
    plans = [plan_round(spec, 1.0) for spec in learner.rounds()]
    first = integer_round_sum(profiles, plans[0], {}, secrets, DIGEST)
    history = [decoded(noised(first, plans[0], os.urandom), plans[0])]
    for plan in plans[:2]:
        context = learner.context(plan.round_id, history[: plan.round_id - 1])
        seen: list[int] = []
        total = integer_round_sum(profiles, plan, context, secrets, DIGEST, seen.append)
        alone = np.zeros(plan.length, dtype=np.int64)
        for user in range(30):
            blocks = contributions(
                profiles.slice(user, user + 1),
                context,
                plan,
                task_digest=DIGEST,
                device_secrets=[secrets[user]],
            )
            alone += dense(blocks, 0)
        np.testing.assert_array_equal(total, alone)
        assert len(seen) > 3
        assert sum(seen) == 30


def test_released_noise_has_the_stated_variance_and_ignores_seeds() -> None:
    """At 20,000 draws the sample variance leaves +-5% with probability below 1e-6."""
    plan = plan_round(RoundSpec(1, "popularity/1", 20_000, 2.0, 1.0, {}), 1.5)
    total = np.zeros(20_000, dtype=np.int64)

    def draw() -> list[float]:
        random.seed(1)
        np.random.seed(1)
        return [float(x) for x in decoded(noised(total, plan, os.urandom), plan).values]

    first, second = draw(), draw()
    assert first != second
    stated = decoded(total, plan).noise_std
    assert np.var(first) == pytest.approx(stated**2, rel=0.05)
    assert stated == pytest.approx(1.5 * 2.0, rel=0.01)  # z times C, up to the rounding margin


def test_refuses_missing_secrets_and_noise() -> None:
    data = generate(20, 40)
    learner = SpectralLearner(40, 20, 8.0)
    with pytest.raises(BadExperiment, match="20 device secrets"):
        integer_round_sum(data.profiles(), plan_round(learner.rounds()[0], 1.0), {}, [], DIGEST)
    for multipliers in ([1.0], [math.nan] * 5, [-1.0] * 5):
        with pytest.raises(BadExperiment, match="noise multipliers"):
            run(data.profiles(), learner, multipliers, task_digest=DIGEST)


def test_spectral_beats_popularity_on_the_generated_population_at_epsilon_8() -> None:
    report = simulate(generate(), SimulationOptions())
    (guarantee,) = report.trained.guarantees
    assert 7.9 < guarantee.epsilon <= 8.0
    assert report.evaluation.means["recall@20"] > 1.3 * report.popularity.means["recall@20"]
    assert report.evaluation.means["ndcg@100"] > 1.2 * report.popularity.means["ndcg@100"]


def test_learner_is_worth_more_without_noise_and_claims_nothing() -> None:
    report = simulate(generate(), SimulationOptions(epsilon=math.inf))
    assert report.trained.guarantees == ()
    assert report.to_json()["privacy"] == {
        "epsilon": None,
        "delta": None,
        "unit": "user",
        "neighboring_relation": "add_remove",
        "trust": "consent-only",
        "rounds": len(report.trained.payload_bytes),
        "noise_multiplier": [0.0] * len(report.trained.payload_bytes),
        "accountant": None,
    }
    assert report.evaluation.means["ndcg@100"] > 1.15 * report.popularity.means["ndcg@100"]


@pytest.mark.parametrize(
    "options",
    [
        SimulationOptions(epsilon=0.0),
        SimulationOptions(epsilon=math.nan),
        SimulationOptions(delta=0.5),
        SimulationOptions(delta=0.0),
        SimulationOptions(learner="magic"),
        SimulationOptions(learner="popularity", rounds=2),
        SimulationOptions(epsilon=1e-9),
    ],
)
def test_refuses_options_out_of_range(options: SimulationOptions) -> None:
    with pytest.raises(BadExperiment):
        simulate(generate(20, 40), options)


def test_default_delta_is_below_one_over_the_users() -> None:
    for users in (1, 400, 943, 6040, 10**6):
        assert 0.0 < default_delta(users) < 1.0 / users
    assert default_delta(6040) == 1e-5
