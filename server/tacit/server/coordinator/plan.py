"""From a learner's rounds to the rounds of a manifest: integer norms and calibrated noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacit.privacy.accounting import calibrate
from tacit.privacy.accounting_modes import LOCAL_SENSITIVITY
from tacit.privacy.task import RoundPlan
from tacit.privacy.trust import CONSENT_ONLY, LOCAL
from tacit.server.coordinator.learners import RoundSpec, integer_norm_for


def plan_rounds(
    specs: Sequence[RoundSpec], epsilon: float, target_delta: float
) -> tuple[RoundPlan, ...]:
    """Calibrate each round's noise so that all rounds together spend at most ε at δ.

    Every user may take part in every round (full participation); nothing is claimed for sampling.
    The noise multipliers are over the sensitivity of the task's level, so they are the same numbers
    at `central` and at `local`.

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


def plan_without_noise(specs: Sequence[RoundSpec]) -> tuple[RoundPlan, ...]:
    """Plan the rounds of a task at trust level `consent-only`: no noise, and no claim but one."""
    return tuple(plan_round(spec, 0.0) for spec in specs)


def learning_epsilon(epsilon: float, trust_level: str, cohort_expected: int) -> float:
    """Return the ε that decides a learner's hyper-parameters, from public numbers alone.

    Learners' rules take the ε at which one noise on the whole sum, of a scale set by C, would be as
    strong as what is really in it. At `local`, N noises of a scale set by 2C make a standard
    deviation 2 √N times as large, which is what ε / (2 √N) would give, z being about inverse to ε.

    Args:
        epsilon: ε of the task; not used at `consent-only`.
        trust_level: the level of the task.
        cohort_expected: public expected cohort N.
    """
    if trust_level == CONSENT_ONLY:
        return math.inf
    if trust_level == LOCAL:
        return epsilon / (LOCAL_SENSITIVITY * math.sqrt(cohort_expected))
    return epsilon


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
