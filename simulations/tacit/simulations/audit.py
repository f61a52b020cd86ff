"""The empirical audit: noise, sampling, sensitivity and canaries, with the power of each.

Canaries alone miss what a small part of a training does wrong, so several layers are run
(docs/audit.md says what each can see), and the auditor itself is calibrated first. Nothing here
proves privacy: the outcome is "no violation detected at power X", or a violation.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tacit.client.statistics import KNOWN_STATISTICS
from tacit.privacy.audit import RateTest, noise_power, noise_test, rate_power, rate_test
from tacit.privacy.task import RoundPlan
from tacit.privacy.trust import CENTRAL, CHARGED_LEVELS, LOCAL
from tacit.server.coordinator import noise
from tacit.simulations.audit_calibration import N_CALIBRATION_RUNS, calibrate_auditor
from tacit.simulations.audit_canaries import N_POWER_RUNS, canary_test
from tacit.simulations.audit_ledger import LedgerResult, ledger_result
from tacit.simulations.audit_local import local_noise_result, replacement_test
from tacit.simulations.audit_report import ALPHA, AuditReport, NoiseResult
from tacit.simulations.audit_rounds import (
    DEFAULT_LINEAR_SETTINGS,
    DEFAULT_LOCAL_SETTINGS,
    RoundCanaries,
    RoundSetting,
    round_canaries,
    round_settings,
)
from tacit.simulations.audit_sensitivity import SensitivityTest, sensitivity_test
from tacit.simulations.audit_training import TrainingCanaries, TrainingShape, training_canaries
from tacit.simulations.factorization import poisson

__all__ = ["ALPHA", "AuditReport", "audit", "noise_result", "sampling_results"]

N_COORDINATES = 10_000

_N_TRIALS = 100
# Level, z and L where no state is given.
_SETTINGS = (
    (CENTRAL, 1.0, 4096),
    (CENTRAL, 4.0, 16_384),
    (CENTRAL, 0.5, 32_767),
    (LOCAL, 1.0, 4096),
    (LOCAL, 8.0, 32_767),
)
_INTEGER_NORM = 4096
_CANARY_NOISE = 4.0
_SAMPLING = ((0.01, 200_000), (0.5, 200_000))
_WRONG_RATES = (1.1, 1.2)
_WRONG_SCALES = (0.95, 0.9, 0.5)

OnStep = Callable[[str, int, int], None]
"""Told a phase's name, how much of it is done, and how much there is."""


def audit(
    state: Path | None = None, *, seed: int = 1, on_step: OnStep | None = None
) -> AuditReport:
    """Run every layer of the audit.

    Args:
        state: a demo's state directory, an exported ledger, or a ledger's state; its tasks then
            give the settings of the noise and canary tests.
        seed: public; users and simulations. Noise, coins and secrets are the operating system's.
        on_step: told of progress.
    """

    def step(phase: str, done: int, total: int) -> None:
        if on_step is not None:
            on_step(phase, done, total)

    calibrated = _Counter("calibrating the auditor", N_CALIBRATION_RUNS, step)
    calibration = tuple(calibrate_auditor(seed, calibrated))
    ledger = None if state is None else ledger_result(state)
    settings = _noise_settings(ledger)
    tested = _Counter("noise", len(settings), step)
    results: list[NoiseResult] = []
    for level, noise_multiplier, integer_norm in settings:
        results.append(
            noise_result(noise_multiplier, integer_norm)
            if level == CENTRAL
            else local_noise_result(noise_multiplier, integer_norm, N_COORDINATES)
        )
        tested()
    sampling = sampling_results()
    neighbours = _Counter("sensitivity", len(KNOWN_STATISTICS), step)
    sensitivity: list[SensitivityTest] = []
    replacement: list[SensitivityTest] = []
    for statistic in KNOWN_STATISTICS:
        sensitivity.append(sensitivity_test(statistic, _N_TRIALS, seed))
        replacement.append(replacement_test(statistic, _N_TRIALS, seed))
        neighbours()
    kinds = _round_settings(ledger)
    ran = _Counter("canaries of each round", len(kinds), step)
    rounds: list[RoundCanaries] = []
    for kind in kinds:
        rounds.append(round_canaries(kind, seed))
        ran()
    # Canaries in one sum see most where the claim is smallest: at the largest multiplier.
    centrally = [z for level, z, _ in settings if level == CENTRAL]
    smallest_claim = max(centrally) if ledger is not None and centrally else _CANARY_NOISE
    canaries = canary_test(smallest_claim, seed, _Counter("canaries", N_POWER_RUNS, step))
    trainings = _trainings(ledger, seed, step)
    return AuditReport(
        calibration,
        tuple(results),
        {str(scale): noise_power(N_COORDINATES, ALPHA, scale) for scale in _WRONG_SCALES},
        sampling,
        {
            str(ratio): min(rate_power(n, q, ALPHA, ratio * q) for q, n in _SAMPLING)
            for ratio in _WRONG_RATES
        },
        tuple(sensitivity),
        canaries,
        trainings,
        ledger,
        tuple(replacement),
        tuple(rounds),
    )


def _noise_settings(ledger: LedgerResult | None) -> tuple[tuple[str, float, int], ...]:
    """Return level, z and L of every noise that a deployment planned, or those that stand in."""
    # A task without noise is of trust level consent-only: there is none to test.
    tasks = ledger.tasks if ledger is not None else ()
    planned = {
        (task.trust_level, plan.noise_multiplier, plan.integer_norm)
        for task in tasks
        for plan in task.rounds
        if task.trust_level in CHARGED_LEVELS
    }
    return tuple(sorted(planned)) or _SETTINGS


def _round_settings(ledger: LedgerResult | None) -> tuple[RoundSetting, ...]:
    """Return the rounds whose canaries are run: a deployment's, or those that stand in."""
    planned = round_settings(ledger.tasks) if ledger is not None else ()
    if planned:
        return planned
    shape = TrainingShape.default()
    rounds = zip(shape.statistics, shape.noise_multipliers, strict=True)
    return (
        *(RoundSetting(name, CENTRAL, z, _INTEGER_NORM) for name, z in rounds),
        *DEFAULT_LINEAR_SETTINGS,
        *DEFAULT_LOCAL_SETTINGS,
    )


class _Counter:
    """Counts a phase's steps for whoever shows progress."""

    def __init__(self, phase: str, total: int, step: OnStep) -> None:
        self._phase, self._total, self._step = phase, total, step
        self._done = 0
        step(phase, 0, total)

    def __call__(self) -> None:
        self._done += 1
        self._step(self._phase, self._done, self._total)


def noise_result(noise_multiplier: float, integer_norm: int) -> NoiseResult:
    """Test what the production mechanism adds to a sum of zeros, at one setting."""
    plan = RoundPlan(1, "popularity/1", N_COORDINATES, 1.0, integer_norm, noise_multiplier, {})
    zeros = np.zeros(N_COORDINATES, dtype=np.int64)
    # In two calls, interleaved: neighbouring draws then come one from each, so that noise which
    # repeats from call to call shows as correlation.
    half = dataclasses.replace(plan, length=N_COORDINATES // 2)
    drawn = [noise.noised(zeros[: half.length], half, os.urandom) for _ in range(2)]
    test = noise_test(np.stack(drawn, axis=1).reshape(-1), noise_multiplier * integer_norm, ALPHA)
    return NoiseResult(noise_multiplier, integer_norm, test)


def sampling_results() -> tuple[RateTest, ...]:
    """Test how many users the Poisson draw of cohorts takes, at a small and a large rate."""
    return tuple(
        rate_test(len(poisson.poisson_draw(users, rate, os.urandom)), users, rate, ALPHA)
        for rate, users in _SAMPLING
    )


def _trainings(
    ledger: LedgerResult | None, seed: int, step: OnStep
) -> tuple[TrainingCanaries, ...]:
    """Train once with canaries for each different training that the ledger's tasks planned."""
    # The engine adds noise to sums, as a coordinator does: trainings of other levels are not it.
    tasks = ledger.tasks if ledger is not None else ()
    central = [task for task in tasks if task.trust_level == CENTRAL]
    # A training of one round is that round, whose canaries are run already.
    planned = [TrainingShape.of_task(task) for task in central if len(task.rounds) > 1]
    # One run a training: tasks that repeat another under a new name have nothing new to show.
    different = {dataclasses.replace(shape, task_id=""): shape for shape in reversed(planned)}
    shapes = [*reversed(different.values())]
    if not tasks:
        shapes = [TrainingShape.default()]
    counted = _Counter(
        "training with canaries", sum(len(one.noise_multipliers) for one in shapes), step
    )
    return tuple(training_canaries(shape, seed, counted) for shape in shapes)
