"""Train the federated learners through the vectorised engine: the path of `tacit demo`'s rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TypeVar

import numpy as np

from tacit.client.decide import read_model, scores
from tacit.client.statistics import Profiles
from tacit.privacy.accounting import GaussianEvent, calibrate, epsilon
from tacit.privacy.errors import BadParameter
from tacit.privacy.trust import LOCAL, exclusions
from tacit.server.coordinator.learners import (
    BadPlan,
    FactorizationLearner,
    Learner,
    PopularityLearner,
    PublicArrays,
    RoundSpec,
    SpectralLearner,
    integer_norm_for,
)
from tacit.server.coordinator.plan import learning_epsilon
from tacit.simulations.datasets import Dataset
from tacit.simulations.engine import run
from tacit.simulations.errors import BadExperiment
from tacit.simulations.splits import Split
from tacit.simulations.trained import (
    EVALUATION,
    FloatArray,
    Guarantee,
    OnProgress,
    Scorer,
    Trained,
    TrainingOptions,
)

_Planned = TypeVar("_Planned", SpectralLearner, FactorizationLearner)


def train_spectral(
    split: Split,
    dataset: Dataset,
    options: TrainingOptions,
    on_progress: OnProgress | None = None,
) -> Trained:
    """Train `spectral`: popularity, public features, private subspace rounds.

    Raises:
        BadExperiment: the learner cannot run with these sizes, rounds or this budget.
    """
    learner = planned(SpectralLearner, split, dataset, options)
    return train_in_rounds(split, learner, options, on_progress)


def train_factorization(
    split: Split,
    dataset: Dataset,
    options: TrainingOptions,
    on_progress: OnProgress | None = None,
) -> Trained:
    """Train `factorization` as devices would: popularity, public features, gradient rounds.

    Raises:
        BadExperiment: the learner cannot run with these sizes, rounds or this budget.
    """
    learner = planned(FactorizationLearner, split, dataset, options)
    return train_in_rounds(split, learner, options, on_progress)


def train_popularity(
    split: Split,
    dataset: Dataset,
    options: TrainingOptions,
    on_progress: OnProgress | None = None,
) -> Trained:
    """Train `popularity`, the floor and cold start, in one round.

    Raises:
        BadExperiment: more than one round was asked for, or the budget cannot be spent in one.
    """
    if options.rounds not in (None, 1):
        raise BadExperiment(f"the popularity learner has 1 round, got {options.rounds}")
    return train_in_rounds(split, PopularityLearner(dataset.n_items), options, on_progress)


def planned(
    kind: type[_Planned], split: Split, dataset: Dataset, options: TrainingOptions
) -> _Planned:
    """Plan a learner from what is public about an experiment.

    Raises:
        BadExperiment: it cannot run with these sizes or rounds.
    """
    n_users = split.cohort.n_users
    try:
        return kind(
            dataset.n_items,
            n_users,
            learning_epsilon(options.epsilon, options.trust_level, n_users),
            features=dataset.features,
            rounds=options.rounds,
        )
    except BadPlan as error:
        raise BadExperiment(str(error)) from None


def train_in_rounds(
    split: Split, learner: Learner, options: TrainingOptions, on_progress: OnProgress | None = None
) -> Trained:
    """Run all rounds of a learner over the split's cohort and account for them.

    Guarantee: that of the options' trust level (`tacit.privacy.trust`), every user in every round,
    no sampling claimed; none for an infinite budget. The size of the cohort stands for the public
    expected one.

    Raises:
        BadExperiment: the budget cannot be spent in these rounds.
    """
    cohort = split.cohort
    multipliers = noise_multipliers(learner, options)
    engine_run = run(
        cohort,
        learner,
        multipliers,
        task_digest=task_digest(learner.name),
        trust_level=options.trust_level,
        on_users=shares_of(on_progress, cohort.n_users * len(multipliers)),
    )
    return Trained(
        learner=learner.name,
        scorer=model_scorer(engine_run.model),
        guarantees=guarantees(multipliers, options, learner.rounds()),
        payload_bytes=engine_run.payload_bytes,
        notes=drowned(learner.name, engine_run.model, noised=any(multipliers)),
    )


def task_digest(name: str) -> bytes:
    """Name the rounding streams of a simulated task."""
    return sha256(name.encode()).digest()


def drowned(learner: str, model: PublicArrays, *, noised: bool = True) -> tuple[str, ...]:
    """Say so when a learner is left with nothing but popularity; no sentence otherwise."""
    fell_back = "loadings" in model and not np.any(model["loadings"])
    if learner == PopularityLearner.name or not fell_back:
        return ()
    if not noised:
        return (
            f"{learner} found nothing beyond popularity and ranks by it; more users would let it "
            "learn",
        )
    return (
        f"noise drowned the signal: {learner} fell back to the popularity ranking; more users or "
        "a larger epsilon would let it learn",
    )


def model_scorer(model: PublicArrays) -> Scorer:
    """Score with a released model through the device's own read-out."""
    read = read_model(model)

    def scorer(profiles: Profiles) -> FloatArray:
        out = np.empty((profiles.n_users, read.n_items))
        for user in range(profiles.n_users):
            mine = slice(int(profiles.indptr[user]), int(profiles.indptr[user + 1]))
            out[user] = scores(read, profiles.items[mine], profiles.weights[mine])
        return out

    return scorer


def noise_multipliers(learner: Learner, options: TrainingOptions) -> tuple[float, ...]:
    """Split the budget over the rounds; zeros for an infinite one."""
    shares = [spec.budget_share for spec in learner.rounds()]
    if math.isinf(options.epsilon):
        return (0.0,) * len(shares)
    try:
        return calibrate(options.epsilon, options.delta, shares)
    except BadParameter as error:
        raise BadExperiment(
            f"expected an epsilon that {len(shares)} rounds can spend, got {options.epsilon:g}: "
            f"{error}"
        ) from None


def guarantees(
    noise_multipliers: tuple[float, ...],
    options: TrainingOptions,
    rounds: Sequence[RoundSpec] = (),
) -> tuple[Guarantee, ...]:
    """State what was spent, by two accountants that agree; nothing without noise.

    Args:
        noise_multipliers: one a round.
        options: the budget and the trust level.
        rounds: the rounds; level `local` needs them, for its events name their sensitivity.
    """
    if math.isinf(options.epsilon):
        return ()
    if options.trust_level == LOCAL:
        events = [
            GaussianEvent(z, 1, 2 * integer_norm_for(spec.length), LOCAL)
            for z, spec in zip(noise_multipliers, rounds, strict=True)
        ]
    else:
        events = [GaussianEvent(z) for z in noise_multipliers]
    claim = epsilon(events, options.delta)
    if claim.epsilon > options.epsilon:
        raise BadExperiment(f"expected to spend {options.epsilon}, got {claim.epsilon}")
    return (
        Guarantee(
            unit="user",
            epsilon=claim.epsilon,
            delta=claim.target_delta,
            neighboring_relation=claim.neighboring_relation,
            trust=claim.trust_level,
            participation=claim.participation,
            sampling=claim.sampling,
            noise_multipliers=noise_multipliers,
            rounds=len(noise_multipliers),
            accountant=f"{claim.accountant} {claim.accountant_version}",
            exclusions=(*exclusions(claim), EVALUATION),
        ),
    )


def shares_of(on_progress: OnProgress | None, total: int) -> Callable[[int], None] | None:
    """Turn counts of users into the share of the work done."""
    if on_progress is None:
        return None
    done = 0

    def advance(users: int) -> None:
        nonlocal done
        done += users
        on_progress(min(1.0, done / total))

    return advance
