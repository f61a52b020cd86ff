"""Train `factorization` by Opacus DP-SGD over Poisson draws: one user per sample.

The popularity and feature rounds run as in the federation. Every gradient step then draws its users
really at random, takes Opacus' clipped sum over them, adds noise from the operating system, and
hands the noised sum to the same learner (`FactorizationLearner`), whose step does not depend on how
many users were in it.
"""

from __future__ import annotations

import math
import os
from hashlib import sha256

from tacit.client.statistics import Profiles
from tacit.privacy.accounting import calibrate
from tacit.privacy.discrete_gaussian import RandomBytes
from tacit.privacy.errors import BadParameter
from tacit.server.coordinator.learners import (
    BadPlan,
    FactorizationLearner,
    NoisedSum,
    PublicArrays,
    RoundSpec,
)
from tacit.server.coordinator.noise import decoded, noised
from tacit.server.coordinator.plan import plan_round
from tacit.simulations.datasets import Dataset
from tacit.simulations.engine import integer_round_sum
from tacit.simulations.errors import BadExperiment
from tacit.simulations.factorization.clipped_sums import clipped_sum
from tacit.simulations.factorization.grid_noise import noised_on_grid
from tacit.simulations.factorization.poisson import poisson_draw, take
from tacit.simulations.factorization.sampled_accounting import (
    SampledRelease,
    account,
    calibrate_sampled,
)
from tacit.simulations.federated import drowned, model_scorer
from tacit.simulations.splits import Split
from tacit.simulations.trained import Guarantee, OnProgress, Trained, TrainingOptions

SAMPLING_RATE = 0.5
"""Of each step. Smaller rates need more steps for the same signal, at about the same epsilon."""

STEPS_PER_ROUND = 2
"""Poisson steps in place of one full-participation round, so that a user is in one on average."""

_SECRET_BYTES = 32
_BYTES_PER_COORDINATE = 2
_GRADIENT = "factorization/1"


def train_with_opacus(
    split: Split,
    dataset: Dataset,
    options: TrainingOptions,
    on_progress: OnProgress | None = None,
    *,
    random_bytes: RandomBytes = os.urandom,
) -> Trained:
    """Train over Poisson draws and account for them with their amplification.

    Guarantee: user-level (epsilon, delta) of the released model under add/remove, trust level
    central, Poisson sampling of the gradient steps; none for an infinite budget.

    Raises:
        BadExperiment: the learner cannot run with these sizes, rounds or this budget.
    """
    cohort = split.cohort
    learner = _learner(dataset, cohort.n_users, options)
    specs = learner.rounds()
    preparing = [spec for spec in specs if spec.statistic != _GRADIENT]
    steps = len(specs) - len(preparing)
    multipliers = _noise_multipliers(preparing, steps, options)
    secrets = [random_bytes(_SECRET_BYTES) for _ in range(cohort.n_users)]
    digest = sha256(b"factorization-opacus").digest()
    history: list[NoisedSum] = []
    for spec, z in zip(specs, multipliers, strict=True):
        context = learner.context(spec.round_id, history)
        if spec.statistic == _GRADIENT:
            drawn = take(cohort, poisson_draw(cohort.n_users, SAMPLING_RATE, random_bytes))
            history.append(_opacus_sum(drawn, context, spec, z, random_bytes))
        else:
            plan = plan_round(spec, z)
            total = integer_round_sum(cohort, plan, context, secrets, digest)
            history.append(decoded(noised(total, plan, random_bytes) if z else total, plan))
        if on_progress is not None:
            on_progress(spec.round_id / len(specs))
    model = learner.model(history)
    return Trained(
        learner="factorization-opacus/1",
        scorer=model_scorer(model),
        guarantees=_guarantees(multipliers, len(preparing), options),
        payload_bytes=tuple(spec.length * _BYTES_PER_COORDINATE for spec in specs),
        notes=(
            *drowned(learner.name, model),
            f"{steps} DP-SGD steps of Opacus over Poisson draws of rate {SAMPLING_RATE:g}; a "
            "simulation only: a fleet cannot prove its draws, so the federated learner claims none",
        ),
    )


def _learner(dataset: Dataset, n_users: int, options: TrainingOptions) -> FactorizationLearner:
    """Plan the federated learner, then as many Poisson steps as stand for its rounds."""
    preparing = 2  # popularity and the Gram round
    try:
        rounds = options.rounds
        if rounds is None:
            usual = FactorizationLearner(
                dataset.n_items, n_users, options.epsilon, features=dataset.features
            )
            rounds = preparing + STEPS_PER_ROUND * usual.plan.gradient_rounds
        return FactorizationLearner(
            dataset.n_items, n_users, options.epsilon, features=dataset.features, rounds=rounds
        )
    except BadPlan as error:
        raise BadExperiment(str(error)) from None


def _opacus_sum(
    drawn: Profiles,
    context: PublicArrays,
    spec: RoundSpec,
    noise_multiplier: float,
    random_bytes: RandomBytes,
) -> NoisedSum:
    """Release one step; an empty draw releases noise alone."""
    values = clipped_sum(drawn, context, float(spec.parameters["gram_weight"]), spec.clipping_norm)
    noise_std = 0.0
    if noise_multiplier > 0.0:
        values, noise_std = noised_on_grid(
            values, spec.clipping_norm, noise_multiplier, random_bytes
        )
    return NoisedSum(spec.round_id, spec.statistic, values, noise_std)


def _noise_multipliers(
    preparing: list[RoundSpec], steps: int, options: TrainingOptions
) -> tuple[float, ...]:
    """Pay for the full rounds by their shares, and for the sampled steps with what is left."""
    if math.isinf(options.epsilon):
        return (0.0,) * (len(preparing) + steps)
    shares = [spec.budget_share for spec in preparing]
    try:
        full = calibrate(options.epsilon, options.delta, [*shares, 1.0 - math.fsum(shares)])[:-1]
    except BadParameter as error:
        raise BadExperiment(f"expected an epsilon these rounds can spend: {error}") from None
    paid = [SampledRelease(z, 1.0, 1) for z in full]
    each = calibrate_sampled(options.epsilon, options.delta, paid, SAMPLING_RATE, steps)
    return (*full, *(each for _ in range(steps)))


def _guarantees(
    multipliers: tuple[float, ...], preparing: int, options: TrainingOptions
) -> tuple[Guarantee, ...]:
    if math.isinf(options.epsilon):
        return ()
    steps = len(multipliers) - preparing
    releases = [SampledRelease(z, 1.0, 1) for z in multipliers[:preparing]]
    releases.append(SampledRelease(multipliers[-1], SAMPLING_RATE, steps))
    claim = account(releases, options.delta)
    if claim.epsilon > options.epsilon:
        raise BadExperiment(f"expected to spend {options.epsilon}, got {claim.epsilon}")
    return (
        Guarantee(
            unit="user",
            epsilon=claim.epsilon,
            delta=options.delta,
            neighboring_relation="add_remove",
            trust="central",
            participation=f"full in {preparing} rounds, by draw in {steps} steps",
            sampling=f"Poisson sampling q={SAMPLING_RATE:g}, T={steps} steps",
            noise_multipliers=multipliers,
            rounds=len(multipliers),
            accountant=f"{claim.accountant}; opacus-prv {claim.epsilon_prv:.4f}",
        ),
    )
