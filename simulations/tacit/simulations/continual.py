"""Train again and again within one budget, each task starting from the release before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tacit.privacy.accounting import GaussianEvent, calibrate, epsilon
from tacit.privacy.errors import BadParameter
from tacit.server.coordinator.learners import BadPlan, PublicArrays, SpectralLearner
from tacit.simulations.datasets import Dataset
from tacit.simulations.engine import run
from tacit.simulations.errors import BadExperiment
from tacit.simulations.federated import guarantees, model_scorer, shares_of, task_digest
from tacit.simulations.holdout import hold_out, training_part
from tacit.simulations.metrics import Evaluation, evaluate
from tacit.simulations.simulate import SimulationOptions, default_delta
from tacit.simulations.splits import Split
from tacit.simulations.trained import Trained, TrainingOptions

OnTask = Callable[[str, float], None]
"""Called with the name of a task and the share of it that is done."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Hold one task of a series.

    Attributes:
        task: its place, from 1.
        epsilon: its own epsilon, at the delta of the whole series.
        spent_epsilon: epsilon of all tasks so far together, by one composition, not by adding.
        warm: the model that started from the release before; the first starts from nothing.
        cold: a model trained at the same epsilon from nothing.
    """

    task: int
    epsilon: float
    spent_epsilon: float
    warm: Trained
    cold: Trained


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """Hold a series and how each of its models ranks held-out items.

    Attributes:
        tasks: the tasks, in order.
        warm: evaluation of each task's model.
        cold: evaluation of a model trained from nothing at the same epsilon.
        delta: of the whole series.
    """

    tasks: tuple[TaskResult, ...]
    warm: tuple[Evaluation, ...]
    cold: tuple[Evaluation, ...]
    delta: float

    def to_json(self) -> list[dict[str, Any]]:
        """Return one document a task (`docs/simulate.md`, key `series`)."""
        return [
            {
                "task": result.task,
                "epsilon": result.epsilon,
                "epsilon_of_all_so_far": result.spent_epsilon,
                "delta": self.delta,
                **_beside(result),
                "metrics": dict(warm.means),
                "metrics_from_nothing": dict(cold.means),
                "payload_bytes_per_device_round": list(result.warm.payload_bytes),
            }
            for result, warm, cold in zip(self.tasks, self.warm, self.cold, strict=True)
        ]


def _beside(result: TaskResult) -> dict[str, Any]:
    """Return what stands beside the figures of a task: what its own guarantee rests on."""
    (guarantee,) = result.warm.guarantees
    whole = guarantee.to_json()
    names = ("unit", "neighboring_relation", "trust_level", "participation", "sampling")
    return {name: whole[name] for name in (*names, "accountant", "exclusions")} | {
        "participation_bound": result.task * guarantee.rounds
    }


def simulate_series(
    dataset: Dataset, options: SimulationOptions, tasks: int, on_task: OnTask | None = None
) -> SeriesReport:
    """Train a series on the training part and evaluate every model of it.

    Raises:
        BadExperiment: as `train_series`; or another learner than spectral was asked for.
    """
    if options.learner != "spectral":
        raise BadExperiment(f"expected learner spectral for a series, got {options.learner}")
    split = hold_out(dataset, options.split_options())
    delta = default_delta(split.cohort.n_users) if options.delta is None else options.delta
    results = train_series(
        split.without_test(),
        training_part(dataset, split),
        TrainingOptions(options.epsilon, delta, options.rounds),
        tasks,
        on_task,
    )
    return SeriesReport(
        tasks=results,
        warm=tuple(evaluate(split, result.warm.scorer) for result in results),
        cold=tuple(evaluate(split, result.cold.scorer) for result in results),
        delta=delta,
    )


def train_series(
    split: Split,
    dataset: Dataset,
    options: TrainingOptions,
    tasks: int,
    on_task: OnTask | None = None,
) -> tuple[TaskResult, ...]:
    """Train the spectral learner `tasks` times; all tasks together spend `options.epsilon`.

    Every task gets the same part of the zCDP budget, so each has the same epsilon of its own, and
    the whole series composes to the total. The cold models are for comparison only; they are no
    part of the series' budget.

    Raises:
        BadExperiment: fewer than 2 tasks, an infinite budget, or one that so many rounds cannot
            spend.
    """
    if tasks < 2 or math.isinf(options.epsilon):
        raise BadExperiment(
            f"expected at least 2 tasks and a finite epsilon for a series, got {tasks} and "
            f"{options.epsilon}"
        )
    each = _each(options, tasks)
    results: list[TaskResult] = []
    earlier: PublicArrays | None = None
    spent: list[GaussianEvent] = []
    for task in range(1, tasks + 1):
        name = f"task {task} of {tasks}"
        warm, model, events = _train(split, dataset, options, each, tasks, earlier, name, on_task)
        cold = warm
        if earlier is not None:
            cold, _, _ = _train(
                split, dataset, options, each, tasks, None, f"{name}, from nothing", on_task
            )
        spent += events
        earlier = model
        total = epsilon(spent, options.delta).epsilon
        results.append(TaskResult(task, each, total, warm, cold))
    return tuple(results)


def _each(options: TrainingOptions, tasks: int) -> float:
    """Compute one task's own epsilon."""
    try:
        multipliers = calibrate(options.epsilon, options.delta, [1.0 / tasks] * tasks)
    except BadParameter as error:
        raise BadExperiment(f"expected an epsilon that {tasks} tasks can share: {error}") from None
    return epsilon([GaussianEvent(multipliers[0])], options.delta).epsilon


def _train(
    split: Split,
    dataset: Dataset,
    options: TrainingOptions,
    each: float,
    tasks: int,
    earlier: PublicArrays | None,
    name: str,
    on_task: OnTask | None,
) -> tuple[Trained, PublicArrays, list[GaussianEvent]]:
    """Run one task's rounds at its part of the series' budget."""
    cohort = split.cohort
    try:
        learner = SpectralLearner(
            dataset.n_items,
            cohort.n_users,
            each,
            features=dataset.features,
            rounds=options.rounds,
            earlier=earlier,
        )
        shares = [spec.budget_share / tasks for spec in learner.rounds()]
        multipliers = calibrate(options.epsilon, options.delta, shares * tasks)[: len(shares)]
    except (BadPlan, BadParameter) as error:
        raise BadExperiment(str(error)) from None
    on_progress = None if on_task is None else partial(on_task, name)
    result = run(
        cohort,
        learner,
        multipliers,
        task_digest=task_digest(name),
        on_users=shares_of(on_progress, cohort.n_users * len(multipliers)),
    )
    own = TrainingOptions(each, options.delta, options.rounds)
    trained = Trained(
        learner=learner.name,
        scorer=model_scorer(result.model),
        guarantees=guarantees(multipliers, own),
        payload_bytes=result.payload_bytes,
    )
    return trained, result.model, [GaussianEvent(z) for z in multipliers]
