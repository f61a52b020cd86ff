"""Canary users through a whole training: every round of a task, scored on all its noised sums.

The learner, the device path, the noise and the number and noise of the rounds are the task's; the
catalogue and the users are this audit's own, so that nobody's data is needed. Each canary has one
item that nobody else has: its direction is sparse, and orthogonal to every other canary's in the
rounds that have coordinates of items (Steinke, Nasr, Jagielski 2023, section 6).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tacit.client.statistics import Profiles, build_profiles, contributions
from tacit.privacy.errors import BadParameter
from tacit.privacy.task import TaskManifest
from tacit.server.coordinator import noise
from tacit.server.coordinator.learners import (
    BadPlan,
    FactorizationLearner,
    Learner,
    NoisedSum,
    PopularityLearner,
    SpectralLearner,
)
from tacit.server.coordinator.plan import plan_round, plan_rounds
from tacit.simulations.audit_bounds import (
    CONFIDENCE,
    DELTA,
    BoolArray,
    Bounds,
    Claim,
    bounds,
    fair_coins,
    n_guesses_for,
    refuting,
)
from tacit.simulations.audit_canaries import (
    ORDINARY_ITEMS,
    WRONG_SCALES,
    Power,
    cohort_of,
    refutations,
)
from tacit.simulations.audit_scores import CanaryEvidence
from tacit.simulations.engine import integer_round_sum

N_TRAINING_CANARIES = 2_000
_POWER_RUNS = 40
_SECRET_BYTES = 32
_DIGEST = b"audit of a training".ljust(32, b"\0")
_USUAL_STRENGTH = 0.75  # of mu^2: few coordinates of a Gram round tell many canaries apart badly
_DEFAULT_EPSILON, _DEFAULT_COHORT = 8.0, 100


@dataclass(frozen=True, slots=True)
class TrainingShape:
    """What of a task decides what a training reveals.

    Attributes:
        task_id: its name; empty for the default that stands in where no task is given.
        learner: name and version.
        statistics, noise_multipliers: of each round.
        epsilon: the task's budget, which decides the learner's sizes.
        cohort_expected: public.
    """

    task_id: str
    learner: str
    statistics: tuple[str, ...]
    noise_multipliers: tuple[float, ...]
    epsilon: float
    cohort_expected: int

    @classmethod
    def of_task(cls, task: TaskManifest) -> TrainingShape:
        """Take it from a manifest; raises `BadParameter` for one that claims no epsilon."""
        if task.epsilon is None:
            raise BadParameter(f"task {task.task_id}: expected a claim that canaries can refute")
        return cls(
            task.task_id,
            task.learner,
            tuple(plan.statistic for plan in task.rounds),
            tuple(plan.noise_multiplier for plan in task.rounds),
            task.epsilon,
            task.cohort_expected,
        )

    @classmethod
    def default(cls) -> TrainingShape:
        """Return three rounds of the spectral learner, as `tacit demo` runs them."""
        learner = SpectralLearner(
            N_TRAINING_CANARIES + ORDINARY_ITEMS, _DEFAULT_COHORT, _DEFAULT_EPSILON
        )
        plans = plan_rounds(learner.rounds(), _DEFAULT_EPSILON, DELTA)
        return cls(
            "",
            learner.name,
            tuple(plan.statistic for plan in plans),
            tuple(plan.noise_multiplier for plan in plans),
            _DEFAULT_EPSILON,
            _DEFAULT_COHORT,
        )


@dataclass(frozen=True, slots=True)
class TrainingCanaries:
    """What the canaries of a whole training showed.

    Attributes:
        shape: what was trained.
        claim: of all rounds together.
        bounds: what the guesses refute; None where this audit cannot train the learner.
        confidence: of each bound.
        strength: mean over canaries of the share of the claim's ``mu^2`` that a canary's
            contributions could shift; 1 for one that has the full norm in every round.
        power: by the scale of the noise that is really there over what it must be.
        not_covered: why there are no bounds; empty where there are.
        findings: one line for each bound that refutes the claim; empty where none does.
    """

    shape: TrainingShape
    claim: Claim
    bounds: Bounds | None
    confidence: float
    strength: float
    power: Power
    not_covered: str
    findings: tuple[str, ...]


def training_canaries(
    shape: TrainingShape, seed: int, on_round: Callable[[], None] | None = None
) -> TrainingCanaries:
    """Train once with canaries on the engine and bound the epsilon of all rounds from below.

    Guarantee: each bound refutes a correct build with probability at most ``1 - CONFIDENCE``,
    whatever the learner does with what it saw: rounds compose adaptively.

    Args:
        shape: what to train.
        seed: public; draws the ordinary users and the simulations behind `power`. Coins, rounding
            secrets and noise come from the operating system.
        on_round: called after each round.
    """
    claim = Claim.of(shape.noise_multipliers)
    learner = _learner(shape)
    if learner is None:
        reason = f"no canaries for learner {shape.learner} with these rounds"
        return TrainingCanaries(shape, claim, None, CONFIDENCE, 0.0, {}, reason, ())
    n_guesses = n_guesses_for(N_TRAINING_CANARIES, math.sqrt(_USUAL_STRENGTH) * claim.mu)
    coins = fair_coins(N_TRAINING_CANARIES, os.urandom(-(-N_TRAINING_CANARIES // 8)))
    evidence = _train(learner, shape.noise_multipliers, coins, seed, on_round)
    found = bounds(evidence.scores(), coins, n_guesses)
    strength = float(np.mean(evidence.information())) / claim.mu**2
    power = _power(evidence, found, claim, seed)
    what = f"canaries of {shape.task_id or 'the default training'}"
    return TrainingCanaries(
        shape, claim, found, CONFIDENCE, strength, power, "", refutations(what, found, claim)
    )


def _learner(shape: TrainingShape) -> Learner | None:
    """Make the task's learner over this audit's catalogue; None if it would have other rounds."""
    n_items, n_rounds = N_TRAINING_CANARIES + ORDINARY_ITEMS, len(shape.noise_multipliers)
    kinds = {one.name: one for one in (SpectralLearner, FactorizationLearner)}
    try:
        if shape.learner == PopularityLearner.name:
            learner: Learner = PopularityLearner(n_items)
        elif shape.learner in kinds:
            kind = kinds[shape.learner]
            learner = kind(n_items, shape.cohort_expected, shape.epsilon, rounds=n_rounds)
        else:
            return None
    except BadPlan:
        return None
    planned = tuple(spec.statistic for spec in learner.rounds())
    return learner if planned == shape.statistics else None


def _train(
    learner: Learner,
    noise_multipliers: Sequence[float],
    coins: BoolArray,
    seed: int,
    on_round: Callable[[], None] | None,
) -> CanaryEvidence:
    """Run every round as `engine.run` does, and gather what its noised sum says of the canaries."""
    cohort = cohort_of(coins, np.random.default_rng([seed, 1]))
    n_in = int(coins.sum())
    ordinary = cohort.slice(n_in, cohort.n_users)
    canaries = _every_canary(len(coins), cohort.n_items)
    secrets = [os.urandom(_SECRET_BYTES) for _ in range(len(coins))]
    others = [os.urandom(_SECRET_BYTES) for _ in range(ordinary.n_users)]
    present = [secrets[index] for index in np.flatnonzero(coins).tolist()] + others
    evidence, history = CanaryEvidence(len(coins)), list[NoisedSum]()
    for spec, noise_multiplier in zip(learner.rounds(), noise_multipliers, strict=True):
        plan = plan_round(spec, noise_multiplier)
        context = learner.context(spec.round_id, tuple(history))
        total = integer_round_sum(cohort, plan, context, present, _DIGEST)
        noised = noise.noised(total, plan, os.urandom)
        history.append(noise.decoded(noised, plan))
        sent = contributions(canaries, context, plan, task_digest=_DIGEST, device_secrets=secrets)
        background = integer_round_sum(ordinary, plan, context, others, _DIGEST)
        evidence.add(sent, noised - background, noise_multiplier * plan.integer_norm)
        if on_round is not None:
            on_round()
    return evidence


def _every_canary(n_canaries: int, n_items: int) -> Profiles:
    indices = np.arange(n_canaries)
    return build_profiles(
        indices, indices, np.ones(n_canaries), n_users=n_canaries, n_items=n_items
    )


def _power(evidence: CanaryEvidence, found: Bounds, claim: Claim, seed: int) -> Power:
    """Simulate the guesses on noise of too small a scale, contexts as they were in this run."""
    power: Power = {}
    for name, scale in WRONG_SCALES.items():
        rng = np.random.default_rng([seed, 5, round(1 / scale)])
        coins = rng.random((found.n_canaries, _POWER_RUNS)) < 0.5
        scores = evidence.simulated_scores(coins.astype(np.float64), scale, rng)
        refuted = dict.fromkeys(found.refuted_epsilon, 0)
        for run in range(_POWER_RUNS):
            for bound in refuting(scores[:, run], coins[:, run], found.n_guesses, claim):
                refuted[bound] += 1
        power[name] = {bound: count / _POWER_RUNS for bound, count in refuted.items()}
    return power
