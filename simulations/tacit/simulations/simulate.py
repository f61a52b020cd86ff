"""One experiment: split, train under a budget, evaluate, account, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tacit.client.statistics import Profiles
from tacit.simulations.datasets import Dataset
from tacit.simulations.errors import BadExperiment, DatasetError
from tacit.simulations.learners import LEARNERS
from tacit.simulations.memory import peak_rss_bytes
from tacit.simulations.metrics import Evaluation, evaluate
from tacit.simulations.splits import PUBLIC_SPLIT_SEED, Split, per_user_split
from tacit.simulations.trained import FloatArray, Scorer, Trained, TrainingOptions

_LARGEST_DELTA = 1e-5
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """Choose an experiment.

    Attributes:
        learner: one of `LEARNERS`.
        epsilon: total budget, above zero; infinity trains without noise and claims nothing.
        delta: target delta, below one over the number of users; `None` applies `default_delta`.
        rounds: total number of rounds; `None` applies the learner's rule.
        split_seed: public seed of the split.
    """

    learner: str = "spectral"
    epsilon: float = 8.0
    delta: float | None = None
    rounds: int | None = None
    split_seed: int = PUBLIC_SPLIT_SEED


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """Hold what an experiment found.

    Attributes:
        dataset: the data.
        options: what was asked.
        delta: the delta that was used.
        trained: what the learner handed back.
        evaluation: metrics of the released model.
        popularity: metrics of exact, non-private item counts: the floor to beat.
        wall_s: elapsed seconds, data already loaded.
        cpu_s: processor seconds of this process over the same time.
        peak_rss_bytes: largest resident size of this process so far.
    """

    dataset: Dataset
    options: SimulationOptions
    delta: float
    trained: Trained
    evaluation: Evaluation
    popularity: Evaluation
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int

    def to_json(self) -> Json:
        """Return the documented JSON document (`docs/simulate.md`)."""
        claim = next(iter(self.trained.guarantees), None)
        return {
            "dataset": {
                "users": self.dataset.n_users,
                "items": self.dataset.n_items,
                "interactions": self.dataset.n_interactions,
            },
            "privacy": {
                "epsilon": None if claim is None else claim.epsilon,
                "delta": None if claim is None else claim.delta,
                "unit": "user",
                "neighboring_relation": "add_remove",
                "trust": "consent-only" if claim is None else "central",
                "rounds": len(self.trained.payload_bytes),
                "noise_multiplier": [0.0] * len(self.trained.payload_bytes)
                if claim is None
                else list(claim.noise_multipliers),
                "accountant": None if claim is None else claim.accountant,
            },
            "guarantees": [one.to_json() for one in self.trained.guarantees],
            "notes": list(self.trained.notes),
            "metrics": dict(self.evaluation.means),
            "cost": {
                "payload_bytes_per_device_round": list(self.trained.payload_bytes),
                "wall_s": self.wall_s,
                "cpu_s": self.cpu_s,
                "peak_rss_bytes": self.peak_rss_bytes,
            },
            "baselines": {"popularity": dict(self.popularity.means)},
            "learner": self.trained.learner,
            "split": {
                "seed": self.options.split_seed,
                "users_evaluated": self.evaluation.users_evaluated,
                "users_dropped": self.evaluation.users_dropped,
            },
        }


def default_delta(n_users: int) -> float:
    """Choose a delta well under one over the cohort: the smaller of 1e-5 and `0.1 / n_users`."""
    return min(_LARGEST_DELTA, 0.1 / n_users)


def simulate(
    dataset: Dataset,
    options: SimulationOptions,
    on_progress: Callable[[float], None] | None = None,
) -> SimulationReport:
    """Train one learner over a whole population under a budget and evaluate it.

    The size of the data set stands for the public expected cohort.

    Args:
        dataset: the population.
        options: the experiment.
        on_progress: called with the share of the work done, from 0 to 1.

    Raises:
        BadExperiment: an option is out of range, or the learner cannot run with these sizes.
        DatasetError: nobody has enough items to hold any out.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    delta = _check(dataset, options)
    split = per_user_split(dataset.profiles(), seed=options.split_seed)
    if len(split.test.items) == 0:
        raise DatasetError("expected at least one user with 5 items or more, got none to evaluate")
    trained = LEARNERS[options.learner](
        split.without_test(),
        dataset,
        TrainingOptions(options.epsilon, delta, options.rounds),
        on_progress,
    )
    evaluation = evaluate(split, trained.scorer)
    popularity = evaluate(split, _count_scorer(split))
    return SimulationReport(
        dataset=dataset,
        options=options,
        delta=delta,
        trained=trained,
        evaluation=evaluation,
        popularity=popularity,
        wall_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu_started,
        peak_rss_bytes=peak_rss_bytes(),
    )


def _count_scorer(split: Split) -> Scorer:
    """Score with exact item counts: not private, only a floor to compare with."""
    counts = np.bincount(split.cohort.items, minlength=split.cohort.n_items).astype(np.float64)

    def scorer(profiles: Profiles) -> FloatArray:
        return np.tile(counts, (profiles.n_users, 1))

    return scorer


def _check(dataset: Dataset, options: SimulationOptions) -> float:
    """Validate the options and settle delta."""
    if options.learner not in LEARNERS:
        raise BadExperiment(f"expected a learner among {LEARNERS}, got {options.learner!r}")
    if not options.epsilon > 0.0:
        raise BadExperiment(f"expected epsilon above zero, got {options.epsilon}")
    delta = default_delta(dataset.n_users) if options.delta is None else options.delta
    if not 0.0 < delta < 1.0 / dataset.n_users:
        raise BadExperiment(
            f"expected delta above 0 and below 1/{dataset.n_users} (one over the users), "
            f"got {delta}"
        )
    return delta
