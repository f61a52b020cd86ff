"""Adaptive clipping is not offered: every clipping norm stands before anything is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tacit.privacy.quantize import integer_target
from tacit.server.coordinator.learners import (
    FactorizationLearner,
    Learner,
    NoisedSum,
    PopularityLearner,
    SpectralLearner,
)
from tacit.server.coordinator.noise import decoded
from tacit.server.coordinator.plan import plan_rounds

Make = Callable[[], Any]
LEARNERS: tuple[Make, ...] = (
    lambda: SpectralLearner(120, 300, 8.0),
    lambda: SpectralLearner(120, 300, 8.0, rounds=5),
    lambda: FactorizationLearner(120, 300, 8.0),
    lambda: PopularityLearner(120),
)


@pytest.mark.parametrize("make", LEARNERS)
@pytest.mark.parametrize("size", [1e-3, 1e6])
def test_rounds_do_not_depend_on_what_was_released(make: Make, size: float) -> None:
    """Sums far below and far above what any clipping would expect change no plan."""
    rng = np.random.default_rng(1)
    learner: Learner = make()
    before = learner.rounds()
    history: list[NoisedSum] = []
    for spec, plan in zip(before, plan_rounds(before, 8.0, 1e-6), strict=True):
        assert plan.clipping_norm == spec.clipping_norm
        learner.context(spec.round_id, tuple(history))
        noise = rng.integers(-5000, 5000, spec.length)
        released = decoded(noise, plan)
        # The noise a learner is told of is that of the clip that was applied.
        unit = spec.clipping_norm / integer_target(plan.integer_norm, spec.length)
        told = plan.noise_multiplier * plan.integer_norm * unit
        assert released.noise_std == pytest.approx(told)
        history.append(
            NoisedSum(spec.round_id, spec.statistic, released.values * size, released.noise_std)
        )
        learner.model(tuple(history))
        assert learner.rounds() == before
    assert make().rounds() == before
