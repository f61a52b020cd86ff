"""The noise boundary: the one place where a raw sum becomes something that may be seen.

`noised` is the mechanism of trust level `central`; nothing else in the coordinator adds noise, and
at that level nothing but its output reaches a learner. At `local` devices have noised their own
contributions (`tacit.privacy.local_noise`) and the sum is taken as it comes; at `consent-only`
nothing is noised.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tacit.privacy.discrete_gaussian import sample_discrete_gaussian
from tacit.privacy.local_noise import local_sigma
from tacit.privacy.quantize import decode_sum, integer_target
from tacit.privacy.task import RoundPlan
from tacit.privacy.trust import CENTRAL, LOCAL
from tacit.server.coordinator.learners import NoisedSum


def noised(
    total: npt.NDArray[np.int64], plan: RoundPlan, random_bytes: Callable[[int], bytes]
) -> npt.NDArray[np.int64]:
    """Add discrete Gaussian noise of scale z·L to each coordinate.

    Args:
        total: exact sum of contributions, shape (length,).
        plan: gives z, L and length.
        random_bytes: production passes `os.urandom`.

    Guarantee: if every contribution has ℓ2 norm at most L, one release of this function satisfies
    the Rényi bound α/(2z²) for adding or removing one user (Canonne, Kamath, Steinke 2020,
    arXiv:2004.00010, Theorem 14, applied to integer vectors).
    """
    scale = plan.noise_multiplier * plan.integer_norm
    return total + sample_discrete_gaussian(scale, plan.length, random_bytes)


def decoded(
    integers: npt.NDArray[np.int64],
    plan: RoundPlan,
    trust_level: str = CENTRAL,
    contributions: int = 1,
) -> NoisedSum:
    """Return a noised sum in the statistic's own units, for a learner.

    Args:
        integers: the sum, `(length,)`.
        plan: the round.
        trust_level: who noised it; decides how much noise is in it.
        contributions: number of contributions in it. At level `local` each brought noise of its
            own, so the variance is N (z·2L)² and the learner has to know that number. It is not
            private there: who takes part is visible, only what they hold is protected.
    """
    unit = plan.clipping_norm / integer_target(plan.integer_norm, plan.length)
    scale = plan.noise_multiplier * plan.integer_norm
    if trust_level == LOCAL:
        scale = local_sigma(plan) * math.sqrt(contributions)
    return NoisedSum(
        round_id=plan.round_id,
        statistic=plan.statistic,
        values=decode_sum(integers, plan.clipping_norm, plan.integer_norm, plan.length),
        noise_std=scale * unit,
    )
