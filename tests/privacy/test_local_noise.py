"""Noise that a device adds itself: its distribution, its width, and what a gateway can check."""

from __future__ import annotations

import math
import os
import random

import numpy as np
import numpy.typing as npt
import pytest

from tacit.privacy import local_noise
from tacit.privacy.discrete_gaussian import MAX_SIGMA, RandomBytes, sample_discrete_gaussian
from tacit.privacy.errors import BadContribution, BadParameter
from tacit.privacy.local_noise import (
    add_local_noise,
    check_noised,
    largest_noised_norm,
    local_noise_sum,
    local_sigma,
)
from tacit.privacy.task import MAX_INTEGER_NORM, RoundPlan

LENGTH = 20_000
PLAN = RoundPlan(1, "popularity/1", LENGTH, 1.0, 4096, 0.75, {})
ZERO: npt.NDArray[np.int64] = np.zeros(LENGTH, dtype=np.int64)


def normal_cdf(x: float) -> float:
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


def test_the_scale_is_z_times_twice_the_norm() -> None:
    assert local_sigma(PLAN) == 0.75 * 2 * 4096
    noise = add_local_noise(ZERO, PLAN, os.urandom).astype(np.float64)
    # The mean of n squares leaves its value by 6 sqrt(2 / n) once in 10^8.
    ratio = float(np.mean(noise**2)) / local_sigma(PLAN) ** 2
    assert abs(ratio - 1.0) < 6.0 * math.sqrt(2.0 / LENGTH)


def test_the_noise_is_gaussian() -> None:
    """Chi-square over 40 cells of equal probability; above 100 once in about 10^7 runs (39 dof)."""
    noise = add_local_noise(ZERO, PLAN, os.urandom) / local_sigma(PLAN)
    uniform = np.array([normal_cdf(float(x)) for x in noise])
    counts = np.histogram(uniform, bins=40, range=(0.0, 1.0))[0]
    expected = LENGTH / 40
    assert float(np.sum((counts - expected) ** 2 / expected)) < 100.0


def test_many_devices_noise_has_n_times_the_variance() -> None:
    n_users = 50
    total = local_noise_sum(PLAN, n_users, os.urandom).astype(np.float64)
    ratio = float(np.mean(total**2)) / (n_users * local_sigma(PLAN) ** 2)
    assert abs(ratio - 1.0) < 6.0 * math.sqrt(2.0 / LENGTH)


def test_every_device_draws_its_own_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(sigma: float, size: int, random_bytes: RandomBytes) -> npt.NDArray[np.int64]:
        asked.append(size)
        return sample_discrete_gaussian(sigma, size, random_bytes)

    monkeypatch.setattr(local_noise, "sample_discrete_gaussian", counted)
    local_noise_sum(PLAN, 120, os.urandom)
    assert sum(asked) == 120 * LENGTH
    assert len(asked) > 1


def test_seeds_change_nothing() -> None:
    torch = pytest.importorskip("torch")

    def draw() -> list[int]:
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        return [int(x) for x in add_local_noise(ZERO, PLAN, os.urandom)]

    assert draw() != draw()


def test_the_vector_is_in_it() -> None:
    vector = ZERO.copy()
    vector[3] = 4096
    first = add_local_noise(vector, PLAN, lambda n: bytes(n))
    second = add_local_noise(ZERO, PLAN, lambda n: bytes(n))
    assert (first - second).tolist() == vector.tolist()


def test_the_norm_is_checked_before_the_noise_hides_it() -> None:
    vector = ZERO.copy()
    vector[0] = 4097
    with pytest.raises(BadContribution, match="4096"):
        add_local_noise(vector, PLAN, os.urandom)


def test_32_bits_hold_any_noise_that_a_task_may_ask_for() -> None:
    """The bound that the module's docstring states: more than 127 sigma at the largest scale."""
    room = (2**31 - 1 - MAX_INTEGER_NORM) / MAX_SIGMA
    assert room > 127.0
    assert room**2 / 2 / math.log(2.0) > 11_600


def test_a_value_beyond_32_bits_is_refused_and_never_wraps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def huge(_sigma: float, size: int, _bytes: object) -> npt.NDArray[np.int64]:
        return np.full(size, 2**31, dtype=np.int64)

    monkeypatch.setattr(local_noise, "sample_discrete_gaussian", huge)
    with pytest.raises(BadContribution, match="32 bits"):
        add_local_noise(ZERO, PLAN, os.urandom)


def test_a_scale_beyond_the_sampler_is_refused() -> None:
    plan = RoundPlan(1, "popularity/1", 4, 1.0, MAX_INTEGER_NORM, 300.0, {})
    with pytest.raises(BadParameter, match="sigma"):
        add_local_noise(np.zeros(4, dtype=np.int64), plan, os.urandom)


@pytest.mark.parametrize("length", [1, 7, 300, LENGTH])
def test_honest_noise_is_plausible(length: int) -> None:
    """One honest contribution in exp(64) is refused."""
    plan = RoundPlan(1, "popularity/1", length, 1.0, 4096, 0.75, {})
    vector = np.zeros(length, dtype=np.int64)
    vector[0] = 4096
    for _ in range(20):
        check_noised(add_local_noise(vector, plan, os.urandom), plan)


@pytest.mark.parametrize("length", [300, LENGTH])
def test_noise_of_twice_the_scale_or_a_far_shift_is_not(length: int) -> None:
    plan = RoundPlan(1, "popularity/1", length, 1.0, 4096, 0.75, {})
    loud = RoundPlan(1, "popularity/1", length, 1.0, 4096, 3.0, {})
    honest = add_local_noise(np.zeros(length, dtype=np.int64), plan, os.urandom)
    with pytest.raises(BadContribution, match="l2 norm"):
        check_noised(add_local_noise(np.zeros(length, dtype=np.int64), loud, os.urandom), plan)
    shifted = honest.astype(np.int64)
    shifted[0] += int(largest_noised_norm(plan)) * 2
    with pytest.raises(BadContribution, match="l2 norm"):
        check_noised(shifted, plan)
    with pytest.raises(BadContribution, match="shape"):
        check_noised(honest[:-1], plan)
