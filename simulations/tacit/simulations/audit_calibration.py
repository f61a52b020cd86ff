"""Calibration of the auditor on mechanisms whose epsilon is known, before it judges anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tacit.privacy.audit import one_run_epsilon
from tacit.privacy.audit.binomial import binomial_pmf
from tacit.simulations.audit_bounds import (
    CONFIDENCE,
    F_DP,
    INDEPENDENT,
    ONE_RUN,
    Claim,
    n_guesses_for,
)
from tacit.simulations.audit_canaries import N_CANARIES, gaussian_bounds

NOISE_MULTIPLIERS = (0.5, 1.0, 2.0, 4.0)
EPSILONS = (0.5, 1.0, 2.0, 4.0)
BROKEN_CLAIM, BROKEN_SCALE = 2.0, 0.5
RUNS = 40
N_CALIBRATION_RUNS = RUNS * (len(NOISE_MULTIPLIERS) + 1 + len(EPSILONS))

_RESPONSES = 10_000
_ALPHA = 1e-6
_NEAR_RESPONSE = 0.85
_NEAR = {ONE_RUN: 0.2, F_DP: 0.45, INDEPENDENT: 0.65}  # of epsilon, on the Gaussian
_SURE = 0.95  # of runs in which the broken mechanism's claim must fall to independent trials


@dataclass(frozen=True, slots=True)
class Calibration:
    """How one bound does on one mechanism of known epsilon.

    Attributes:
        mechanism: "randomized response" (pure, delta 0), "Gaussian" at a noise multiplier, or
            "broken Gaussian", whose noise is half of what it claims.
        setting: epsilon of the first, noise multiplier really there of the others.
        bound: which bound.
        true_epsilon: what the mechanism has.
        claimed_epsilon: what it claims; less than it has only where it is broken.
        median_bound: median over runs of the refuted epsilon.
        n_runs, n_exceeding: audits made, and those whose bound exceeded the truth.
        n_refuting: those that refuted the claim.
        findings: a bound that is not one, or that comes nowhere near; empty where neither.
    """

    mechanism: str
    setting: float
    bound: str
    true_epsilon: float
    claimed_epsilon: float
    median_bound: float
    n_runs: int
    n_exceeding: int
    n_refuting: int
    findings: tuple[str, ...]


def calibrate_auditor(seed: int, on_run: Callable[[], None] | None = None) -> list[Calibration]:
    """Audit known mechanisms: each bound must hold as often as it says, and must come near.

    Randomized response is where the one-run bound is tight; on the Gaussian it is known to reach
    a part of epsilon only (Steinke, Nasr, Jagielski 2023), the f-DP bound more, and independent
    trials come near. The broken Gaussian's claim must be refuted.

    Args:
        seed: public; the mechanisms here protect nobody.
        on_run: called after each audit.
    """
    results: list[Calibration] = []
    for setting in EPSILONS:
        rng = np.random.default_rng([seed, 3, round(setting * 1000)])
        told = [_response_bound(setting, rng, on_run) for _ in range(RUNS)]
        results.append(
            _judge("randomized response", setting, ONE_RUN, setting, setting, told, None)
        )
    for setting in NOISE_MULTIPLIERS:
        results += _audit_gaussian("Gaussian", setting, setting, seed, on_run)
    results += _audit_gaussian(
        "broken Gaussian", BROKEN_SCALE * BROKEN_CLAIM, BROKEN_CLAIM, seed, on_run
    )
    return results


def _audit_gaussian(
    mechanism: str, setting: float, claimed: float, seed: int, on_run: Callable[[], None] | None
) -> list[Calibration]:
    """Audit a Gaussian of noise multiplier `setting` that claims to have `claimed`."""
    rng = np.random.default_rng([seed, 4, round(setting * 1000), round(claimed * 1000)])
    truth, claim = Claim.of([setting]), Claim.of([claimed])
    n_guesses = n_guesses_for(N_CANARIES, claim.mu)
    found: dict[str, list[float]] = {ONE_RUN: [], F_DP: [], INDEPENDENT: []}
    refuting = dict.fromkeys(found, 0)
    for _ in range(RUNS):
        one = gaussian_bounds(setting, n_guesses, rng)
        for name, epsilon in one.refuted_epsilon.items():
            found[name].append(epsilon)
        for name in one.refuting(claim):
            refuting[name] += 1
        if on_run is not None:
            on_run()
    return [
        _judge(mechanism, setting, name, truth.epsilon, claim.epsilon, values, refuting[name])
        for name, values in found.items()
    ]


def _response_bound(
    epsilon: float, rng: np.random.Generator, on_run: Callable[[], None] | None
) -> float:
    """Audit randomized response: every bit is told truthfully with chance e^eps / (1 + e^eps)."""
    n_correct = int(rng.binomial(_RESPONSES, 1.0 / (1.0 + math.exp(-epsilon))))
    bound = one_run_epsilon(_RESPONSES, _RESPONSES, n_correct, 0.0, CONFIDENCE)
    if on_run is not None:
        on_run()
    return bound


def _judge(
    mechanism: str,
    setting: float,
    bound: str,
    truth: float,
    claimed: float,
    values: list[float],
    n_refuting: int | None,
) -> Calibration:
    """Judge audits of one mechanism; a valid auditor fails with probability at most 1e-6."""
    exceeding = sum(value > truth for value in values)
    tail = float(binomial_pmf(len(values), 1.0 - CONFIDENCE)[exceeding:].sum())
    median = float(np.median(values))
    refuting = exceeding if n_refuting is None else n_refuting
    near = _NEAR_RESPONSE if mechanism == "randomized response" else _NEAR[bound]
    what = f"{bound} bound on {mechanism} {setting:g}"
    findings: list[str] = []
    if tail < _ALPHA:
        findings.append(
            f"auditor: {exceeding} of {len(values)} bounds exceed the known epsilon {truth:.4g}: "
            f"{what}"
        )
    if claimed < truth:
        if bound == INDEPENDENT and refuting < _SURE * len(values):
            findings.append(
                f"auditor: no power: claim refuted in {refuting} of {len(values)}: {what}"
            )
    elif median < near * truth:
        findings.append(f"auditor: no power: median {median:.4g} of epsilon {truth:.4g}: {what}")
    return Calibration(
        mechanism,
        setting,
        bound,
        truth,
        claimed,
        median,
        len(values),
        exceeding,
        refuting,
        tuple(findings),
    )
