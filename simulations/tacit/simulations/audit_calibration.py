"""Calibration of the auditor on mechanisms whose epsilon is known, before it judges anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tacit.privacy.accounting import GaussianEvent, epsilon_bound
from tacit.privacy.audit import one_run_epsilon
from tacit.privacy.audit.binomial import binomial_pmf
from tacit.simulations.audit_canaries import CONFIDENCE, DELTA, gaussian_bound

NOISE_MULTIPLIERS = (0.5, 1.0, 2.0, 4.0)
EPSILONS = (0.5, 1.0, 2.0, 4.0)
RUNS = 40
N_CALIBRATION_RUNS = RUNS * (len(NOISE_MULTIPLIERS) + len(EPSILONS))

_RESPONSES = 10_000
_ALPHA = 1e-6
_NEAR = {"randomized response": 0.85, "Gaussian": 0.3}


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the auditor does on one mechanism of known epsilon.

    Attributes:
        mechanism: "randomized response" (pure, delta 0) or "Gaussian" at a noise multiplier.
        setting: epsilon of the one, noise multiplier of the other.
        true_epsilon: what it has.
        median_bound: median over runs of the refuted epsilon.
        n_runs, n_exceeding: audits made, and those whose bound exceeded the truth.
        findings: a bound that is not one, or that comes nowhere near; empty where neither.
    """

    mechanism: str
    setting: float
    true_epsilon: float
    median_bound: float
    n_runs: int
    n_exceeding: int
    findings: tuple[str, ...]


def calibrate_auditor(seed: int, on_run: Callable[[], None] | None = None) -> list[Calibration]:
    """Audit known mechanisms: the bound must hold as often as it says, and must come near.

    Randomized response is where the one-run bound is tight; on the Gaussian it is known to reach
    a part of epsilon only (Steinke, Nasr, Jagielski 2023), so less is asked of it there.

    Args:
        seed: public; the mechanisms here protect nobody.
        on_run: called after each audit.
    """
    results: list[Calibration] = []
    for setting in EPSILONS:
        rng = np.random.default_rng([seed, 3, round(setting * 1000)])
        told = [_response_bound(setting, rng, on_run) for _ in range(RUNS)]
        results.append(_judge("randomized response", setting, setting, told))
    for setting in NOISE_MULTIPLIERS:
        rng = np.random.default_rng([seed, 4, round(setting * 1000)])
        bounds: list[float] = []
        for _ in range(RUNS):
            bounds.append(gaussian_bound(setting, rng))
            if on_run is not None:
                on_run()
        truth = epsilon_bound([GaussianEvent(setting)], DELTA)
        results.append(_judge("Gaussian", setting, truth, bounds))
    return results


def _response_bound(
    epsilon: float, rng: np.random.Generator, on_run: Callable[[], None] | None
) -> float:
    """Audit randomized response: every bit is told truthfully with chance e^eps / (1 + e^eps)."""
    n_correct = int(rng.binomial(_RESPONSES, 1.0 / (1.0 + math.exp(-epsilon))))
    bound = one_run_epsilon(_RESPONSES, _RESPONSES, n_correct, 0.0, CONFIDENCE)
    if on_run is not None:
        on_run()
    return bound


def _judge(mechanism: str, setting: float, truth: float, bounds: list[float]) -> Calibration:
    """Judge audits of one mechanism; a valid auditor fails with probability at most 1e-6."""
    exceeding = sum(bound > truth for bound in bounds)
    tail = float(binomial_pmf(len(bounds), 1.0 - CONFIDENCE)[exceeding:].sum())
    median = float(np.median(bounds))
    findings: list[str] = []
    if tail < _ALPHA:
        findings.append(
            f"auditor: {exceeding} of {len(bounds)} bounds exceed the known epsilon {truth:.4g} of "
            f"{mechanism} {setting:g}"
        )
    if median < _NEAR[mechanism] * truth:
        findings.append(
            f"auditor: no power: median bound {median:.4g} on {mechanism} {setting:g} of epsilon "
            f"{truth:.4g}"
        )
    return Calibration(mechanism, setting, truth, median, len(bounds), exceeding, tuple(findings))
