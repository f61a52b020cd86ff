"""From a learner's rounds to the rounds of a manifest: integer norms and calibrated noise."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.privacy.accounting import calibrate
from tacit.privacy.task import RoundPlan
from tacit.server.coordinator.learners import RoundSpec, integer_norm_for


def plan_rounds(
    specs: Sequence[RoundSpec], epsilon: float, target_delta: float
) -> tuple[RoundPlan, ...]:
    """Calibrate each round's noise so that all rounds together spend at most ε at δ.

    Every user may take part in every round (full participation); nothing is claimed for sampling.

    Args:
        specs: the learner's rounds; their budget shares sum to at most 1.
        epsilon: total ε > 0, finite.
        target_delta: δ in (0, 1).

    Raises:
        BadParameter: if ε or δ is out of range.
    """
    multipliers = calibrate(epsilon, target_delta, [spec.budget_share for spec in specs])
    return tuple(
        plan_round(spec, noise_multiplier)
        for spec, noise_multiplier in zip(specs, multipliers, strict=True)
    )


def plan_round(spec: RoundSpec, noise_multiplier: float) -> RoundPlan:
    """Return a learner's round with its integer norm and this noise multiplier."""
    return RoundPlan(
        round_id=spec.round_id,
        statistic=spec.statistic,
        length=spec.length,
        clipping_norm=spec.clipping_norm,
        integer_norm=integer_norm_for(spec.length),
        noise_multiplier=noise_multiplier,
        parameters={name: float(value) for name, value in spec.parameters.items()},
    )
