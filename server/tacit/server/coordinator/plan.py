"""From a learner's rounds to the rounds of a manifest: integer norms and calibrated noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacit.privacy.accounting import calibrate
from tacit.privacy.task import MAX_INTEGER_NORM, RoundPlan
from tacit.server.coordinator.learners import RoundSpec

_MIN_INTEGER_NORM = 4_096
_MAX_ROUNDING_LOSS = 0.005


def integer_norm_for(length: int) -> int:
    """Choose L so that rounding costs at most 0.5% of the norm.

    Stochastic rounding of d coordinates adds up to d/4 to the squared norm, so L² must exceed
    (d/4)/(1 − 0.995²). At least 4096, which makes rounding noise negligible beside DP noise, and
    at most 32767, which 16-bit integers hold.

    Args:
        length: d, the number of coordinates.
    """
    needed = math.sqrt(length / 4 / (1 - (1 - _MAX_ROUNDING_LOSS) ** 2))
    return min(MAX_INTEGER_NORM, max(_MIN_INTEGER_NORM, math.ceil(needed)))


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
        RoundPlan(
            round_id=spec.round_id,
            statistic=spec.statistic,
            length=spec.length,
            clipping_norm=spec.clipping_norm,
            integer_norm=integer_norm_for(spec.length),
            noise_multiplier=noise_multiplier,
            parameters={name: float(value) for name, value in spec.parameters.items()},
        )
        for spec, noise_multiplier in zip(specs, multipliers, strict=True)
    )
