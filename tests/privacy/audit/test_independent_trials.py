"""The bound from independent canaries: exact limits, false alarms, tightness."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from tacit.privacy.audit import independent_trials_mu, rate_power, rate_test, rate_upper_limit
from tacit.privacy.errors import BadParameter

stats: Any = importlib.import_module("scipy.stats")  # ships no types


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (120, 1000), (999, 1000), (5, 5)])
def test_limit_is_clopper_and_pearsons(hits: int, trials: int) -> None:
    exact = 1.0 if hits == trials else float(stats.beta.ppf(0.99, hits + 1, trials - hits))
    assert rate_upper_limit(hits, trials, 0.01) == pytest.approx(exact, rel=1e-8)


def test_bound_rarely_exceeds_a_known_mu_and_comes_near() -> None:
    """1,200 audits: 12 may exceed at 99%; 32 have chance 2e-6."""
    rng = np.random.default_rng(9)
    n, exceeding = 5000, 0
    for z, near in ((0.5, 0.9), (1.0, 0.85), (2.0, 0.7), (4.0, 0.4)):
        alarm = float(stats.norm.sf(0.5 / z))
        missed, alarms = rng.binomial(n, alarm, (2, 300)).tolist()
        found = [
            independent_trials_mu(n, a, n, b, 0.99) for a, b in zip(missed, alarms, strict=True)
        ]
        exceeding += sum(one > 1.0 / z for one in found)
        assert np.median(found) > near / z
    assert exceeding < 32


def test_a_broken_gaussian_is_refuted_every_time() -> None:
    rng = np.random.default_rng(10)
    alarm = float(stats.norm.sf(0.5))  # mu is 1; 0.5 is claimed
    for missed, alarms in rng.binomial(5000, alarm, (100, 2)).tolist():
        assert independent_trials_mu(5000, missed, 5000, alarms, 0.99) > 0.5


def test_chance_refutes_nothing() -> None:
    assert independent_trials_mu(1000, 500, 1000, 500, 0.95) == 0.0
    assert independent_trials_mu(10, 10, 10, 10, 0.95) == 0.0


@pytest.mark.parametrize(
    "arguments", [(10, 11, 10, 1, 0.9), (10, 1, 0, 0, 0.9), (10, -1, 10, 1, 0.9), (9, 1, 9, 1, 0.0)]
)
def test_refuses_what_is_no_audit(arguments: tuple[int, int, int, int, float]) -> None:
    with pytest.raises(BadParameter):
        independent_trials_mu(*arguments)


@pytest.mark.parametrize(("rate", "actual"), [(0.1, 0.12), (0.5, 0.45), (0.3, 0.3)])
def test_power_of_the_rate_test_is_exact(rate: float, actual: float) -> None:
    caught = sum(
        float(stats.binom.pmf(k, 500, actual))
        for k in range(501)
        if rate_test(k, 500, rate, 1e-3).findings
    )
    assert rate_power(500, rate, 1e-3, actual) == pytest.approx(caught, rel=1e-9)
