"""Refuse a demo that could not end well, before any process starts or any file is made."""

from __future__ import annotations

from tacit.privacy.errors import PrivacyError
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.coordinator.learners import (
    FactorizationLearner,
    Learner,
    LearnerError,
    PopularityLearner,
    SpectralLearner,
)
from tacit.server.coordinator.plan import learning_epsilon, plan_rounds
from tacit.simulations.demo.options import MIN_DEVICES, DemoOptions
from tacit.simulations.demo.population import DemoPopulation
from tacit.simulations.errors import BadExperiment


def check_feasible(options: DemoOptions, population: DemoPopulation, target_delta: float) -> None:
    """Plan the rounds as the coordinator will, and look whether there is anything to show.

    Args:
        options: what was asked.
        population: whom it was asked of.
        target_delta: δ of the training.

    Raises:
        BadExperiment: too few users, nobody with held-out events, or no rounds that keep to ε.
    """
    devices = len(population.users)
    if devices < MIN_DEVICES:
        raise BadExperiment(f"--data: expected at least {MIN_DEVICES} users, got {devices}")
    if not any(len(items) for items in population.held_out):
        raise BadExperiment(
            "--data: expected at least one user with 5 items or more, got none to evaluate"
        )
    try:
        learner = _learner(options, population)
    except LearnerError as error:
        name = "--rounds" if options.rounds else "--data"
        raise BadExperiment(f"{name}: {error}") from None
    if options.trust_level == CONSENT_ONLY:
        return
    try:
        plan_rounds(learner.rounds(), options.epsilon, target_delta)
    except (LearnerError, PrivacyError) as error:
        raise BadExperiment(
            f"--epsilon: expected a budget that {len(learner.rounds())} rounds can spend, "
            f"got {options.epsilon:g}: {error}"
        ) from None


def _learner(options: DemoOptions, population: DemoPopulation) -> Learner:
    dataset, devices = population.dataset, len(population.users)
    if options.learner == "popularity":
        return PopularityLearner(dataset.n_items)
    kind = FactorizationLearner if options.learner == "factorization" else SpectralLearner
    return kind(
        dataset.n_items,
        devices,
        learning_epsilon(options.epsilon, options.trust_level, devices),
        features=dataset.features,
        rounds=options.rounds or None,
    )
