from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.errors import BadContribution, BadParameter
from tacit.privacy.quantize import integer_target
from tacit.privacy.task import RoundPlan
from tacit.server.coordinator.learners import RoundSpec, SpectralLearner
from tacit.server.coordinator.noise import decoded, noised
from tacit.server.coordinator.plan import plan_rounds

PLAN = RoundPlan(1, "popularity/1", 4000, 2.5, 4096, 0.7, {})


def bytes_from(seed: int) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


def specs(*shares: float) -> list[RoundSpec]:
    return [
        RoundSpec(n + 1, "popularity/1", 100 * (n + 1), 1.5, share, {"depth": 3})
        for n, share in enumerate(shares)
    ]


class TestPlan:
    @pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0, 20.0])
    @pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (0.7, 0.2, 0.1), (0.02,) * 50])
    def test_spends_what_was_asked_and_no_more(
        self, epsilon: float, shares: tuple[float, ...]
    ) -> None:
        plans = plan_rounds(specs(*shares), epsilon, 1e-6)
        events = [GaussianEvent(plan.noise_multiplier) for plan in plans]
        spent = epsilon_bound(events, 1e-6)
        assert spent <= epsilon
        assert spent > 0.99 * epsilon

    def test_gives_a_larger_share_less_noise(self) -> None:
        large, small = plan_rounds(specs(0.8, 0.2), 4.0, 1e-6)
        assert small.noise_multiplier / large.noise_multiplier == pytest.approx(2.0)

    def test_keeps_what_the_learner_planned(self) -> None:
        plans = plan_rounds(specs(0.5, 0.5), 4.0, 1e-6)
        assert [plan.round_id for plan in plans] == [1, 2]
        assert [plan.length for plan in plans] == [100, 200]
        assert {plan.clipping_norm for plan in plans} == {1.5}
        assert plans[0].parameters == {"depth": 3.0}
        for plan in plans:
            assert integer_target(plan.integer_norm, plan.length) >= 0.99 * plan.integer_norm

    def test_serves_a_real_learner(self) -> None:
        learner = SpectralLearner(200, 500, 4.0)
        plans = plan_rounds(learner.rounds(), 4.0, 1e-6)
        events = [GaussianEvent(plan.noise_multiplier) for plan in plans]
        assert 3.9 < epsilon_bound(events, 1e-6) <= 4.0

    @pytest.mark.parametrize(
        ("epsilon", "delta"), [(0.0, 1e-6), (-1.0, 1e-6), (float("nan"), 1e-6), (1.0, 1.0)]
    )
    def test_refuses_a_budget_that_is_none(self, epsilon: float, delta: float) -> None:
        with pytest.raises(BadParameter):
            plan_rounds(specs(1.0), epsilon, delta)


class TestNoise:
    def test_has_the_planned_scale_and_no_bias(self) -> None:
        # Five standard errors each: fails by chance once in 10⁶; the seed is fixed.
        total = np.full(PLAN.length, 10**6, dtype=np.int64)
        noise = (noised(total, PLAN, bytes_from(1)) - total).astype(np.float64)
        sigma = PLAN.noise_multiplier * PLAN.integer_norm
        assert noise.var() == pytest.approx(sigma**2, rel=5 * np.sqrt(2 / PLAN.length))
        assert abs(noise.mean()) < 5 * sigma / np.sqrt(PLAN.length)
        neighbours = np.corrcoef(noise[:-1], noise[1:])[0, 1]
        assert abs(neighbours) < 5 / np.sqrt(PLAN.length)

    def test_is_added_to_the_exact_sum(self) -> None:
        zero = np.zeros(PLAN.length, dtype=np.int64)
        total = np.arange(PLAN.length, dtype=np.int64) * 2**40
        difference = noised(total, PLAN, bytes_from(2)) - noised(zero, PLAN, bytes_from(2))
        assert difference.dtype == np.int64
        assert np.array_equal(difference, total)

    def test_comes_from_the_given_bytes_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(*_: Any) -> Any:
            raise AssertionError("another source of randomness was read")

        zero = np.zeros(PLAN.length, dtype=np.int64)
        first = noised(zero, PLAN, bytes_from(3))
        for module, name in (
            (os, "urandom"),
            (random, "random"),
            (random, "getrandbits"),
            (secrets, "token_bytes"),
            (np.random, "default_rng"),
        ):
            source = bytes_from(3) if name == "default_rng" else None
            monkeypatch.setattr(module, name, forbidden)
        assert source is not None
        assert np.array_equal(noised(zero, PLAN, source), first)

    def test_differs_with_other_bytes(self) -> None:
        zero = np.zeros(PLAN.length, dtype=np.int64)
        same = noised(zero, PLAN, bytes_from(4)) == noised(zero, PLAN, bytes_from(5))
        assert same.mean() < 0.01


class TestDecoding:
    def test_returns_units_of_the_statistic(self) -> None:
        # A user at the clipping norm sends integers of norm `integer_target`.
        target = integer_target(PLAN.integer_norm, PLAN.length)
        integers = np.zeros(PLAN.length, dtype=np.int64)
        integers[7] = round(target)
        result = decoded(integers, PLAN)
        assert result.values[7] == pytest.approx(PLAN.clipping_norm, rel=1e-3)
        assert (result.round_id, result.statistic) == (1, "popularity/1")

    def test_states_the_noise_that_is_in_the_values(self) -> None:
        zero = np.zeros(PLAN.length, dtype=np.int64)
        result = decoded(noised(zero, PLAN, bytes_from(6)), PLAN)
        error = 5 / np.sqrt(2 * PLAN.length)
        assert result.values.std() == pytest.approx(result.noise_std, rel=error)

    def test_refuses_a_sum_of_another_length(self) -> None:
        with pytest.raises(BadContribution):
            decoded(np.zeros(3, dtype=np.int64), PLAN)
