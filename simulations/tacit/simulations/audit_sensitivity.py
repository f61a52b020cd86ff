"""Property test of sensitivity: what one user changes in the integer sum, for each statistic."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np

from tacit.client.statistics import StatisticError
from tacit.privacy.errors import PrivacyError
from tacit.privacy.task import RoundPlan
from tacit.simulations.audit_population import Columns, StatisticCase, statistic_case
from tacit.simulations.engine import integer_round_sum

_INTEGER_NORMS = (1024, 4096, 32_767)
_CLIPPING_NORMS = (1e-6, 1e-3, 1e-2, 1.0, 30.0)
_DIGEST = b"audit of sensitivity".ljust(32, b"\0")
_SECRET_BYTES = 32
_NEARLY = 0.9  # of L: a test that never comes near the bound could not see it broken
_LEAST_CLIPPED = 0.2


@dataclass(frozen=True, slots=True)
class SensitivityTest:
    """What one user changed, for one statistic.

    Attributes:
        statistic: its name.
        n_trials: pairs of neighbouring cohorts compared.
        n_clipped: those where the user's statistic exceeded the clipping norm.
        n_refused: those where the device path refused to send anything.
        largest_change: greatest l2 change of the integer sum over L; 1 is the bound.
        findings: violations, and a test too weak to find any; empty where none was detected.
    """

    statistic: str
    n_trials: int
    n_clipped: int
    n_refused: int
    largest_change: float
    findings: tuple[str, ...]


def sensitivity_test(statistic: str, n_trials: int, seed: int) -> SensitivityTest:
    """Compare sums with and without one user, through clip, rounding and the engine's summation.

    Exact: changes are compared with L in integers, so a correct build never fails for a change. A
    build fails too where nothing in the trials would have shown a missing clip.

    Args:
        statistic: a registered name.
        n_trials: pairs of cohorts, at least 1.
        seed: public; draws users and settings. Rounding secrets come from the operating system.

    Raises:
        BadExperiment: this audit knows no context for the statistic.
    """
    rng = np.random.default_rng([seed, *statistic.encode()])
    n_clipped = n_refused = n_over = 0
    largest = 0.0
    for _ in range(n_trials):
        case = statistic_case(statistic, rng)
        users = [case.draw(rng) for _ in range(int(rng.integers(1, 6)))]
        chosen = int(rng.integers(len(users)))
        clipping_norm = float(rng.choice(_CLIPPING_NORMS))
        integer_norm = int(rng.choice(_INTEGER_NORMS))
        try:
            exceeds = _norm(case, users[chosen]) > clipping_norm
            squared = _squared_change(case, users, chosen, clipping_norm, integer_norm)
        except (PrivacyError, StatisticError):
            n_refused += 1
            continue
        n_clipped += exceeds
        n_over += squared > integer_norm**2
        largest = max(largest, math.sqrt(squared) / integer_norm)
    findings: list[str] = []
    if n_over:
        findings.append(
            f"{statistic}: one user changed the sum by more than L in {n_over} of {n_trials} "
            f"trials, by up to {largest:.3g} L"
        )
    if largest < _NEARLY or n_clipped < _LEAST_CLIPPED * n_trials:
        findings.append(
            f"{statistic}: no power: {n_clipped} of {n_trials} trials needed clipping "
            f"({n_refused} were refused) and the largest change was {largest:.3g} L"
        )
    return SensitivityTest(statistic, n_trials, n_clipped, n_refused, largest, tuple(findings))


def _norm(case: StatisticCase, user: Columns) -> float:
    """Return the l2 norm of one user's statistic, before clipping."""
    return float(np.linalg.norm(case.compute([user]).values))


def _squared_change(
    case: StatisticCase,
    users: list[Columns],
    removed: int,
    clipping_norm: float,
    integer_norm: int,
) -> int:
    """Return the exact squared l2 distance of the sums with and without one user."""
    length = case.compute(users).length
    plan = RoundPlan(1, case.name, length, clipping_norm, integer_norm, 1.0, dict(case.parameters))
    secrets = [os.urandom(_SECRET_BYTES) for _ in users]
    kept = [index for index in range(len(users)) if index != removed]
    everyone = integer_round_sum(case.batch(users), plan, case.context, secrets, _DIGEST)
    others = integer_round_sum(
        case.batch([users[index] for index in kept]),
        plan,
        case.context,
        [secrets[index] for index in kept],
        _DIGEST,
    )
    change: list[int] = (everyone - others).tolist()
    return sum(value * value for value in change)
