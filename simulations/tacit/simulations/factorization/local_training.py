"""Train `factorization` over devices that all have torch and protect their interactions themselves.

Two guarantees result and both are reported: the user-level one of the release, as always, and an
interaction-level one of what devices send in the gradient rounds, which holds against the operator.
"""

from __future__ import annotations

import math
import os
from hashlib import sha256

import numpy as np

from tacit.client.statistics import Profiles, rounding_info
from tacit.privacy.accounting import GaussianEvent, calibrate, epsilon
from tacit.privacy.discrete_gaussian import RandomBytes
from tacit.privacy.quantize import RoundingStream, clip, integer_sum, quantize
from tacit.privacy.task import RoundPlan
from tacit.server.coordinator.learners import (
    FactorizationLearner,
    NoisedSum,
    PublicArrays,
)
from tacit.server.coordinator.noise import decoded, noised
from tacit.server.coordinator.plan import plan_round
from tacit.simulations.datasets import Dataset
from tacit.simulations.engine import integer_round_sum
from tacit.simulations.factorization.interactions import (
    FACTOR_SHARE,
    InteractionNoise,
    LocalTrainer,
)
from tacit.simulations.federated import (
    drowned,
    guarantees,
    model_scorer,
    noise_multipliers,
    planned,
)
from tacit.simulations.splits import Split
from tacit.simulations.trained import Guarantee, OnProgress, Trained, TrainingOptions

INTERACTION_EPSILON = 8.0
"""Of one interaction over all gradient rounds, when a user-level budget is set at all."""

INTERACTION_DELTA = 1e-5

_SECRET_BYTES = 32
_BYTES_PER_COORDINATE = 2
_GRADIENT = "factorization/1"


def train_with_local_noise(
    split: Split,
    dataset: Dataset,
    options: TrainingOptions,
    on_progress: OnProgress | None = None,
    *,
    random_bytes: RandomBytes = os.urandom,
) -> Trained:
    """Train with interaction-level protection on every device and report both guarantees.

    Guarantees: user-level (epsilon, delta) of the release (add/remove one user, trust level
    central); interaction-level (8, 1e-5) of the gradient rounds' answers (add/remove one
    interaction, trust level local). Neither for an infinite budget.

    Raises:
        BadExperiment: the learner cannot run with these sizes, rounds or this budget.
    """
    cohort = split.cohort
    learner = planned(FactorizationLearner, split, dataset, options)
    specs = learner.rounds()
    multipliers = noise_multipliers(learner, options)
    gradient_rounds = learner.plan.gradient_rounds
    local = _local_multipliers(gradient_rounds, options)
    secrets = [random_bytes(_SECRET_BYTES) for _ in range(cohort.n_users)]
    digest = sha256(b"factorization-local").digest()
    history: list[NoisedSum] = []
    for spec, z in zip(specs, multipliers, strict=True):
        plan = plan_round(spec, z)
        context = learner.context(spec.round_id, history)
        if spec.statistic == _GRADIENT:
            total = _local_sum(cohort, context, plan, local, digest, secrets, random_bytes)
        else:
            total = integer_round_sum(cohort, plan, context, secrets, digest)
        history.append(decoded(noised(total, plan, random_bytes) if z else total, plan))
        if on_progress is not None:
            on_progress(spec.round_id / len(specs))
    model = learner.model(history)
    return Trained(
        learner="factorization-local/1",
        scorer=model_scorer(model),
        guarantees=guarantees(multipliers, options) + _interaction_guarantee(local, len(specs)),
        payload_bytes=tuple(spec.length * _BYTES_PER_COORDINATE for spec in specs),
        notes=(
            *drowned(learner.name, model),
            "the interaction-level guarantee covers the gradient rounds; what devices send in the "
            "popularity and feature rounds is protected by the user-level one alone",
        ),
    )


def _local_multipliers(rounds: int, options: TrainingOptions) -> tuple[float, ...]:
    """Give the noise multipliers of both steps of each gradient round, in order."""
    if math.isinf(options.epsilon):
        return (0.0,) * (2 * rounds)
    shares = [FACTOR_SHARE / rounds, (1.0 - FACTOR_SHARE) / rounds] * rounds
    return calibrate(INTERACTION_EPSILON, INTERACTION_DELTA, shares)


def _local_sum(
    cohort: Profiles,
    context: PublicArrays,
    plan: RoundPlan,
    local: tuple[float, ...],
    digest: bytes,
    secrets: list[bytes],
    random_bytes: RandomBytes,
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Add up the integers of all devices."""
    noise = InteractionNoise(local[0], local[1])
    trainer = LocalTrainer(context, plan.parameters["gram_weight"], noise, random_bytes)
    info = rounding_info(digest, plan.round_id)
    total = np.zeros(plan.length, dtype=np.int64)
    for user, secret in enumerate(secrets):
        answer = trainer.answer(cohort.slice(user, user + 1))
        clipped = clip(answer, plan.clipping_norm)
        stream = [RoundingStream(secret, info)]
        total += integer_sum(quantize(clipped, plan.clipping_norm, plan.integer_norm, stream))
    return total


def _interaction_guarantee(local: tuple[float, ...], rounds: int) -> tuple[Guarantee, ...]:
    if not any(local):
        return ()
    claim = epsilon([GaussianEvent(z) for z in local], INTERACTION_DELTA)
    return (
        Guarantee(
            unit="interaction",
            epsilon=claim.epsilon,
            delta=claim.target_delta,
            neighboring_relation="add_remove",
            trust="local",
            participation=f"full, in the {len(local) // 2} gradient round(s) of {rounds} rounds",
            sampling="none",
            noise_multipliers=local,
            rounds=len(local),
            accountant=f"{claim.accountant} {claim.accountant_version}",
        ),
    )
