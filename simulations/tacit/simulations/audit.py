"""The empirical audit: noise, sampling, sensitivity and canaries, with the power of each.

Canaries alone miss noise of half the scale, so several layers are run (docs/audit.md says what
each can see), and the auditor itself is calibrated first. Nothing here proves privacy: the outcome
is "no violation detected at power X", or a violation.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tacit.client.statistics import KNOWN_STATISTICS
from tacit.privacy.accounting import ACCOUNTANT, ACCOUNTANT_VERSION
from tacit.privacy.audit import NoiseTest, RateTest, noise_power, noise_test, rate_test
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.privacy.trust import CENTRAL, EXCLUSIONS
from tacit.server.coordinator import noise
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.contents import read_database, read_export
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.verify import verify_export
from tacit.simulations.audit_calibration import (
    N_CALIBRATION_RUNS,
    Calibration,
    calibrate_auditor,
)
from tacit.simulations.audit_canaries import N_POWER_RUNS, CanaryTest, canary_test
from tacit.simulations.audit_sensitivity import SensitivityTest, sensitivity_test
from tacit.simulations.factorization import poisson

N_COORDINATES = 10_000
ALPHA = 1e-6
"""Probability of a false alarm of each noise and sampling test."""

_N_TRIALS = 100
_SETTINGS = ((1.0, 4096), (4.0, 16_384), (0.5, 32_767))  # z and L where no state is given
_CANARY_NOISE = 4.0
_SAMPLING = ((0.01, 200_000), (0.5, 200_000))
_WRONG_SCALES = (0.95, 0.9, 0.5)

OnStep = Callable[[str, int, int], None]
"""Told a phase's name, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class NoiseResult:
    """A noise test at one plan's setting.

    Attributes:
        noise_multiplier, integer_norm: z and L.
        test: what the draws showed.
    """

    noise_multiplier: float
    integer_norm: int
    test: NoiseTest


@dataclass(frozen=True, slots=True)
class LedgerResult:
    """What a deployment's ledger showed.

    Attributes:
        path: what was verified.
        n_releases: releases re-derived.
        plans: the rounds its tasks planned; `verify` holds every reserved multiplier to them.
        findings: what does not verify.
    """

    path: str
    n_releases: int
    plans: tuple[RoundPlan, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything an audit did.

    Attributes:
        calibration: of the auditor, on mechanisms of known epsilon.
        noise: one result a setting.
        noise_power: scale of broken noise over what it must be → chance to be caught, each test.
        sampling: draws of cohorts.
        sensitivity: one result a registered statistic.
        canaries: the one-run bound.
        ledger: of the deployment, if one was given.
    """

    calibration: tuple[Calibration, ...]
    noise: tuple[NoiseResult, ...]
    noise_power: Mapping[str, float]
    sampling: tuple[RateTest, ...]
    sensitivity: tuple[SensitivityTest, ...]
    canaries: CanaryTest
    ledger: LedgerResult | None

    @property
    def findings(self) -> tuple[str, ...]:
        """Collect every finding; empty where no violation was detected."""
        found = [one for result in self.calibration for one in result.findings]
        found += [
            f"{one} (noise multiplier {result.noise_multiplier:.4g}, L {result.integer_norm})"
            for result in self.noise
            for one in result.test.findings
        ]
        found += [f"sampling: {one}" for result in self.sampling for one in result.findings]
        found += [one for result in self.sensitivity for one in result.findings]
        found += self.canaries.findings
        found += [f"ledger: {one}" for one in (self.ledger.findings if self.ledger else ())]
        return tuple(found)

    def to_json(self) -> dict[str, object]:
        """Return the report as a document."""
        document = asdict(self)
        if self.ledger is not None:
            plans = [plan.to_json() for plan in self.ledger.plans]
            document["ledger"] = {**document["ledger"], "plans": plans}
        return {
            "type": "tacit.audit/1",
            "violation_detected": bool(self.findings),
            "findings": list(self.findings),
            "false_alarm_rate_per_test": ALPHA,
            # What every figure in it is about: one round of the engine, as it would be claimed.
            "trust_level": CENTRAL,
            "unit": "user",
            "neighboring_relation": "add_remove",
            "delta": self.canaries.delta,
            "participation_bound": 1,
            "sampling": "none",
            "accountant": f"{ACCOUNTANT} {ACCOUNTANT_VERSION}",
            "exclusions": list(EXCLUSIONS),
            **document,
        }


def audit(
    state: Path | None = None, *, seed: int = 1, on_step: OnStep | None = None
) -> AuditReport:
    """Run every layer of the audit.

    Args:
        state: a demo's state directory, an exported ledger, or a ledger's state; its rounds then
            give the settings of the noise and canary tests.
        seed: public; users and simulations. Noise, coins and secrets are the operating system's.
        on_step: told of progress.
    """

    def step(phase: str, done: int, total: int) -> None:
        if on_step is not None:
            on_step(phase, done, total)

    calibrated = _Counter("calibrating the auditor", N_CALIBRATION_RUNS, step)
    calibration = tuple(calibrate_auditor(seed, calibrated))
    ledger = None if state is None else _ledger(state)
    settings: tuple[tuple[float, int], ...] = _SETTINGS
    if ledger is not None and ledger.plans:
        # A plan without noise is of trust level consent-only: there is none to test.
        noised = [plan for plan in ledger.plans if plan.noise_multiplier]
        pairs = {(plan.noise_multiplier, plan.integer_norm) for plan in noised}
        settings = tuple(sorted(pairs)) or _SETTINGS
    tested = _Counter("noise", len(settings), step)
    results: list[NoiseResult] = []
    for noise_multiplier, integer_norm in settings:
        results.append(noise_result(noise_multiplier, integer_norm))
        tested()
    sampling = sampling_results()
    neighbours = _Counter("sensitivity", len(KNOWN_STATISTICS), step)
    sensitivity: list[SensitivityTest] = []
    for statistic in KNOWN_STATISTICS:
        sensitivity.append(sensitivity_test(statistic, _N_TRIALS, seed))
        neighbours()
    # Canaries see most where the claim is smallest: the round with the largest multiplier.
    smallest_claim = max(z for z, _ in settings) if ledger is not None else _CANARY_NOISE
    canaries = canary_test(smallest_claim, seed, _Counter("canaries", N_POWER_RUNS, step))
    power = {str(scale): noise_power(N_COORDINATES, ALPHA, scale) for scale in _WRONG_SCALES}
    return AuditReport(
        calibration, tuple(results), power, sampling, tuple(sensitivity), canaries, ledger
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


def _ledger(state: Path) -> LedgerResult:
    """Verify a deployment's ledger offline, and read the rounds that its tasks planned."""
    export = state / "ledger-export"
    path = export if export.is_dir() else state
    try:
        report = verify_export(path)
        is_export = path.is_dir() and not (path / DATABASE_FILE).exists()
        contents = read_export(path) if is_export else read_database(path)
        entries = [GovernanceEntry.parse(data) for data in contents.logs[GOVERNANCE].entries]
        tasks = [TaskManifest.from_json(one.body) for one in entries if one.kind == "task"]
    except VerificationFailed as error:
        return LedgerResult(str(path), 0, (), error.findings)
    except PrivacyError as error:
        return LedgerResult(str(path), 0, (), (str(error),))
    plans = tuple(plan for task in tasks for plan in task.rounds)
    return LedgerResult(str(path), len(report.releases), plans, ())
