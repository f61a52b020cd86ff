"""The white-box noise test: its false alarms, and its power against what it must catch."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest

from tacit.privacy.audit import noise_power, noise_test
from tacit.privacy.discrete_gaussian import sample_discrete_gaussian
from tacit.privacy.errors import BadParameter

mp: Any = importlib.import_module("mpmath").mp  # ships no types

SIGMA, N, ALPHA = 4096.0, 10_000, 1e-6


def draws(seed: int, scale: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return sample_discrete_gaussian(SIGMA * scale, N, np.random.default_rng(seed).bytes)


def test_right_noise_passes_a_hundred_times() -> None:
    """Fails by chance once in 10⁴ seeds; the seeds are fixed."""
    assert all(not noise_test(draws(seed), SIGMA, ALPHA).findings for seed in range(100))


def test_false_alarms_are_as_rare_as_stated() -> None:
    """At alpha 0.1, 2,000 tests: 200 are expected, 260 or more have probability 2e-5."""
    rng = np.random.default_rng(1)
    alarms = sum(
        bool(noise_test(np.rint(SIGMA * row).astype(np.int64), SIGMA, 0.1).findings)
        for row in rng.normal(size=(2000, 1000))
    )
    assert 140 < alarms < 260


def test_ten_per_cent_too_little_is_caught_always() -> None:
    assert noise_power(N, ALPHA, 0.9) > 1 - 1e-12
    for seed in range(50):
        (finding,) = noise_test(draws(seed, 0.9), SIGMA, ALPHA).findings
        assert "too little" in finding


def test_power_is_what_simulation_finds() -> None:
    rng = np.random.default_rng(2)
    caught = np.mean(
        [
            bool(noise_test(np.rint(0.95 * SIGMA * row).astype(np.int64), SIGMA, 1e-3).findings)
            for row in rng.normal(size=(600, 2000))
        ]
    )
    # Binomial standard error 0.02 at most.
    assert caught == pytest.approx(noise_power(2000, 1e-3, 0.95), abs=0.08)


def test_power_agrees_with_the_exact_chi_squared_law() -> None:
    def cdf(x: float, n: int) -> float:
        return float(mp.gammainc(n / 2, 0, x / 2, regularized=True))

    n, part, ratio = 1000, 1e-3 / 4, 0.9
    low, high = 0.5 * n, float(n)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cdf(middle, n) < part else (low, middle)
    assert noise_power(n, 1e-3, ratio) == pytest.approx(cdf(low / ratio**2, n), abs=2e-3)


def test_too_much_biased_and_repeated_noise_are_caught() -> None:
    noise = draws(3)
    assert "too much" in noise_test(draws(4, 1.1), SIGMA, ALPHA).findings[0]
    assert "mean" in noise_test(noise + int(0.1 * SIGMA), SIGMA, ALPHA).findings[0]
    assert "correlates" in noise_test(np.repeat(noise[::2], 2), SIGMA, ALPHA).findings[0]
    assert noise_test(np.zeros(N, np.int64), SIGMA, ALPHA).findings


@pytest.mark.parametrize(
    ("n", "sigma", "alpha"),
    [(999, SIGMA, ALPHA), (N, 99.0, ALPHA), (N, math.nan, ALPHA), (N, SIGMA, 0.0), (N, SIGMA, 1.0)],
)
def test_refuses_what_it_cannot_judge(n: int, sigma: float, alpha: float) -> None:
    with pytest.raises(BadParameter):
        noise_test(np.zeros(n, np.int64), sigma, alpha)
