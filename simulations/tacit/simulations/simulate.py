"""One experiment: split, train under a budget, evaluate, account, report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from tacit.client.decide import Model, scores
from tacit.client.statistics import Profiles
from tacit.privacy.accounting import EpsilonClaim, GaussianEvent, calibrate, epsilon
from tacit.privacy.errors import BadParameter
from tacit.server.coordinator.learners import BadPlan, Learner, PopularityLearner, SpectralLearner
from tacit.simulations.datasets import Dataset
from tacit.simulations.engine import EngineRun, run
from tacit.simulations.errors import BadExperiment, DatasetError
from tacit.simulations.memory import peak_rss_bytes
from tacit.simulations.metrics import Evaluation, FloatArray, IntArray, Scorer, evaluate
from tacit.simulations.splits import PUBLIC_SPLIT_SEED, Split, per_user_split

LEARNERS = ("spectral", "popularity")

_LARGEST_DELTA = 1e-5
Json = dict[str, "Json | list[float] | list[int] | float | int | str | None"]


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
        learner: name and version of the learner.
        options: what was asked.
        delta: the delta that was used.
        noise_multipliers: one per round; zeros without noise.
        claim: what was spent, by two accountants; `None` without noise.
        evaluation: metrics of the released model.
        popularity: metrics of exact, non-private item counts: the floor to beat.
        payload_bytes: bytes one device sends in each round.
        wall_s: elapsed seconds, data already loaded.
        cpu_s: processor seconds of this process over the same time.
        peak_rss_bytes: largest resident size of this process so far.
    """

    dataset: Dataset
    learner: str
    options: SimulationOptions
    delta: float
    noise_multipliers: tuple[float, ...]
    claim: EpsilonClaim | None
    evaluation: Evaluation
    popularity: Evaluation
    payload_bytes: tuple[int, ...]
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int

    def to_json(self) -> Json:
        """Return the documented JSON document (`docs/simulate.md`)."""
        claim = self.claim
        accountant = None if claim is None else f"{claim.accountant} {claim.accountant_version}"
        return {
            "dataset": {
                "users": self.dataset.n_users,
                "items": self.dataset.n_items,
                "interactions": self.dataset.n_interactions,
            },
            "privacy": {
                "epsilon": None if claim is None else claim.epsilon,
                "delta": None if claim is None else claim.target_delta,
                "unit": "user",
                "neighboring_relation": "add_remove",
                "trust": "consent-only" if claim is None else "central",
                "rounds": len(self.noise_multipliers),
                "noise_multiplier": list(self.noise_multipliers),
                "accountant": accountant,
            },
            "metrics": dict(self.evaluation.means),
            "cost": {
                "payload_bytes_per_device_round": list(self.payload_bytes),
                "wall_s": self.wall_s,
                "cpu_s": self.cpu_s,
                "peak_rss_bytes": self.peak_rss_bytes,
            },
            "baselines": {"popularity": dict(self.popularity.means)},
            "learner": self.learner,
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
    learner = _learner(dataset, options)
    noise_multipliers = _noise_multipliers(learner, options.epsilon, delta)
    split = per_user_split(dataset.profiles(), seed=options.split_seed)
    if len(split.test.items) == 0:
        raise DatasetError("expected at least one user with 5 items or more, got none to evaluate")
    report = _progress(on_progress, dataset.n_users * (len(noise_multipliers) + 2))
    engine_run = run(
        split.train,
        learner,
        noise_multipliers,
        task_digest=sha256(learner.name.encode()).digest(),
        on_users=report,
    )
    evaluation = evaluate(split, model_scorer(engine_run), report)
    popularity = evaluate(split, _count_scorer(split), report)
    claim = None
    if math.isfinite(options.epsilon):
        claim = epsilon([GaussianEvent(z) for z in noise_multipliers], delta)
        if claim.epsilon > options.epsilon:
            raise BadExperiment(f"expected to spend {options.epsilon}, got {claim.epsilon}")
    return SimulationReport(
        dataset=dataset,
        learner=learner.name,
        options=options,
        delta=delta,
        noise_multipliers=noise_multipliers,
        claim=claim,
        evaluation=evaluation,
        popularity=popularity,
        payload_bytes=engine_run.payload_bytes,
        wall_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu_started,
        peak_rss_bytes=peak_rss_bytes(),
    )


def model_scorer(engine_run: EngineRun) -> Scorer:
    """Score with the released model through the device's own read-out."""
    model = Model.from_arrays(engine_run.model)

    def scorer(items: IntArray, weights: FloatArray) -> FloatArray:
        return scores(model, items, weights)

    return scorer


def _count_scorer(split: Split) -> Scorer:
    """Score with exact item counts: not private, only a floor to compare with."""
    counts = _counts(split.train)

    def scorer(items: IntArray, weights: FloatArray) -> FloatArray:
        del items, weights
        return counts

    return scorer


def _counts(profiles: Profiles) -> FloatArray:
    return np.bincount(profiles.items, minlength=profiles.n_items).astype(np.float64)


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


def _learner(dataset: Dataset, options: SimulationOptions) -> Learner:
    if options.learner == "popularity":
        if options.rounds not in (None, 1):
            raise BadExperiment(f"the popularity learner has 1 round, got {options.rounds}")
        return PopularityLearner(dataset.n_items)
    try:
        return SpectralLearner(
            dataset.n_items,
            dataset.n_users,
            options.epsilon,
            features=dataset.features,
            rounds=options.rounds,
        )
    except BadPlan as error:
        raise BadExperiment(str(error)) from None


def _noise_multipliers(learner: Learner, total: float, delta: float) -> tuple[float, ...]:
    """Split the budget over the rounds; zeros for an infinite one."""
    shares = [spec.budget_share for spec in learner.rounds()]
    if math.isinf(total):
        return (0.0,) * len(shares)
    try:
        return calibrate(total, delta, shares)
    except BadParameter as error:
        raise BadExperiment(
            f"expected an epsilon that {len(shares)} rounds can spend, got {total:g}: {error}"
        ) from None


def _progress(
    on_progress: Callable[[float], None] | None, total: int
) -> Callable[[int], None] | None:
    """Turn counts of users into the share of all work done."""
    if on_progress is None:
        return None
    done = 0

    def advance(users: int) -> None:
        nonlocal done
        done += users
        on_progress(min(1.0, done / total))

    return advance
