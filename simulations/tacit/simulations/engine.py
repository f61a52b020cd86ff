"""Run every round of a learner over a whole cohort in one process.

The engine computes what the federation computes: the same device statistics, clipping, rounding
and integer sums (from `tacit.client`), the same discrete Gaussian from the operating system (on the
sum, or at trust level `local` once a device), the same learner. What it leaves out is the network,
so a result here is a result about the real code.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import Batch, contributions
from tacit.privacy.discrete_gaussian import RandomBytes
from tacit.privacy.local_noise import local_noise_sum
from tacit.privacy.quantize import integer_sum
from tacit.privacy.task import RoundPlan
from tacit.privacy.trust import CENTRAL, LOCAL
from tacit.server.coordinator.learners import Learner, NoisedSum, PublicArrays
from tacit.server.coordinator.noise import decoded, noised
from tacit.server.coordinator.plan import plan_round
from tacit.server.gateway.round import DTYPES
from tacit.simulations.errors import BadExperiment

IntArray = npt.NDArray[np.int64]

_CHUNK_BLOCKS = 60_000
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class EngineRun:
    """Hold what a run released.

    Attributes:
        history: the noised sums, in round order.
        model: the learner's final arrays.
        payload_bytes: size of one device's contribution in each round.
    """

    history: tuple[NoisedSum, ...]
    model: PublicArrays
    payload_bytes: tuple[int, ...]


def integer_round_sum(
    cohort: Batch,
    plan: RoundPlan,
    context: Mapping[str, npt.NDArray[np.floating]],
    device_secrets: Sequence[bytes],
    task_digest: bytes,
    on_users: Callable[[int], None] | None = None,
) -> IntArray:
    """Add up the integers all devices of a cohort would send in one round, before noise.

    Post-condition: equals the sum of the vectors that real devices with these secrets send.

    Args:
        cohort: profiles or histories, as the statistics take them.
        plan: the round.
        context: its public arrays.
        device_secrets: one 32-byte secret per user, in order.
        task_digest: digest of the task's manifest; names the rounding streams.
        on_users: called with the number of users done after each chunk.

    Returns:
        `(length,)` int64.

    Raises:
        BadExperiment: there is not one secret per user.
    """
    if len(device_secrets) != cohort.n_users:
        raise BadExperiment(f"expected {cohort.n_users} device secrets, got {len(device_secrets)}")
    total = np.zeros(plan.length, dtype=np.int64)
    start = 0
    while start < cohort.n_users:
        stop = _chunk_end(cohort, start)
        blocks = contributions(
            cohort.slice(start, stop),
            context,
            plan,
            task_digest=task_digest,
            device_secrets=device_secrets[start:stop],
        )
        total += integer_sum(blocks)
        if on_users is not None:
            on_users(stop - start)
        start = stop
    return total


def run(
    cohort: Batch,
    learner: Learner,
    noise_multipliers: Sequence[float],
    *,
    task_digest: bytes,
    trust_level: str = CENTRAL,
    random_bytes: RandomBytes = os.urandom,
    on_users: Callable[[int], None] | None = None,
) -> EngineRun:
    """Run all rounds of a learner.

    Args:
        cohort: profiles or histories, as the statistics take them; every user takes part in every
            round.
        learner: plans the rounds and consumes only noised sums.
        noise_multipliers: one per round; 0 adds no noise and carries no privacy claim.
        task_digest: names the rounding streams.
        trust_level: who adds the noise: `central`, once to the sum; `local`, every device to its
            own contribution, of a scale set by 2L.
        random_bytes: source of device secrets and of noise; the operating system's by default.
        on_users: called with the number of users done after each chunk of each round.

    Raises:
        BadExperiment: there is not one finite noise multiplier of zero or more per round.
    """
    specs = learner.rounds()
    if len(noise_multipliers) != len(specs):
        raise BadExperiment(
            f"expected {len(specs)} noise multipliers, got {len(noise_multipliers)}"
        )
    if not all(math.isfinite(z) and z >= 0.0 for z in noise_multipliers):
        raise BadExperiment("expected finite noise multipliers of zero or more")
    secrets = [random_bytes(_SECRET_BYTES) for _ in range(cohort.n_users)]
    history: list[NoisedSum] = []
    for spec, noise_multiplier in zip(specs, noise_multipliers, strict=True):
        plan = plan_round(spec, noise_multiplier)
        context = learner.context(spec.round_id, tuple(history))
        total = integer_round_sum(cohort, plan, context, secrets, task_digest, on_users)
        if noise_multiplier > 0.0 and trust_level == LOCAL:
            total = total + local_noise_sum(plan, cohort.n_users, random_bytes)
        elif noise_multiplier > 0.0:
            total = noised(total, plan, random_bytes)
        history.append(decoded(total, plan, trust_level, cohort.n_users))
    return EngineRun(
        history=tuple(history),
        model=learner.model(tuple(history)),
        payload_bytes=tuple(spec.length * bytes_per_value(trust_level) for spec in specs),
    )


def bytes_per_value(trust_level: str) -> int:
    """Return how many bytes an integer of a contribution takes on the wire."""
    return np.dtype(DTYPES[trust_level]).itemsize


def _chunk_end(cohort: Batch, start: int) -> int:
    """Choose where a chunk ends: about `_CHUNK_BLOCKS` entries, at least one user."""
    room = int(cohort.indptr[start]) + _CHUNK_BLOCKS
    end = int(np.searchsorted(cohort.indptr, room, side="right")) - 1
    return max(start + 1, min(end, cohort.n_users))
