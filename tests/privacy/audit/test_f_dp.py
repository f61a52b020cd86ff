"""The one-run f-DP bound against a linear program, exact laws, and Gaussians of known mu."""

from __future__ import annotations

import importlib
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, epsilon_lower
from tacit.privacy.audit import f_dp_refutes, one_run_epsilon, one_run_mu
from tacit.privacy.errors import BadParameter

stats: Any = importlib.import_module("scipy.stats")  # ships no types
optimize: Any = importlib.import_module("scipy.optimize")

NORMAL = NormalDist()


def largest_tail(m: int, r: int, v: int, mu: float) -> float:
    """The largest P[W >= v] that the inequalities of the docstring allow, by linear programming.

    F is the lowest of its tangents: at h, ``Phi(q + mu) + slope (x - h)``, q the quantile of h.
    """
    quantiles = np.linspace(-7.0, 5.0, 400)
    heights = stats.norm.cdf(quantiles)
    slopes = np.exp(-mu * quantiles - mu * mu / 2.0)
    offsets = stats.norm.cdf(quantiles + mu) - slopes * heights
    j = np.arange(r + 1)
    rows: list[npt.NDArray[np.float64]] = []
    limits: list[npt.NDArray[np.float64]] = []
    for first in range(1, r + 1):
        right = np.where(j >= first, j / m, 0.0)
        wrong = np.where(j >= first - 1, (r - j) / m, 0.0)
        rows.append(right[np.newaxis, :] - slopes[:, np.newaxis] * wrong[np.newaxis, :])
        limits.append(offsets)
    solved = optimize.linprog(
        -(j >= v).astype(float),
        A_ub=np.vstack(rows),
        b_ub=np.concatenate(limits),
        A_eq=np.ones((1, r + 1)),
        b_eq=[1.0],
    )
    assert solved.status == 0
    return -float(solved.fun)


@pytest.mark.parametrize(
    ("m", "r", "v", "mu"),
    [(8, 8, 7, 1.0), (12, 6, 6, 1.0), (20, 10, 9, 0.5), (15, 15, 15, 1.0), (30, 20, 18, 0.7)],
)
def test_recursion_is_the_linear_program(m: int, r: int, v: int, mu: float) -> None:
    tail = largest_tail(m, r, v, mu)
    assert 0.0 < tail < 1.0
    assert f_dp_refutes(m, r, v, mu, 1.0 - 1.002 * tail)
    assert not f_dp_refutes(m, r, v, mu, 1.0 - 0.998 * tail)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.data(), st.floats(0.05, 4.0))
def test_exact_laws_of_gaussians_are_never_refuted(m: int, data: st.DataObject, mu: float) -> None:
    """All canaries guessed by their sign: W is binomial at Phi(mu / 2), an exact mu-GDP law."""
    v = data.draw(st.integers(0, m))
    tail = float(stats.binom.sf(v - 1, m, NORMAL.cdf(mu / 2.0)))
    if 1e-12 < tail < 1.0:
        assert not f_dp_refutes(m, m, v, mu, 1.0 - tail)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_one_canary_is_the_best_test_of_a_gaussian(mu: float) -> None:
    chance = NORMAL.cdf(mu / 2.0)
    assert f_dp_refutes(1, 1, 1, mu, 1.0 - chance - 1e-9)  # the level is above the chance
    assert not f_dp_refutes(1, 1, 1, mu, 1.0 - chance + 1e-9)


def test_correct_gaussians_are_never_refuted_and_the_bound_is_the_tighter_one() -> None:
    """2,000 audits of correct Gaussians; at 99% confidence 20 might be refuted, none is."""
    rng = np.random.default_rng(6)
    m, r = 2000, 200
    for z in (0.5, 1.0, 2.0, 4.0):
        mu = 1.0 / z
        bounds: list[float] = []
        one_run: list[float] = []
        known: dict[int, tuple[float, float]] = {}
        for _ in range(500):
            coins = rng.random(m) < 0.5
            order = np.argsort(coins + z * rng.normal(size=m))
            v = int(coins[order[-r // 2 :]].sum() + (~coins[order[: r // 2]]).sum())
            if v not in known:
                known[v] = one_run_mu(m, r, v, 0.99), one_run_epsilon(m, r, v, 1e-6, 0.99)
            bounds.append(known[v][0])
            one_run.append(known[v][1])
        assert max(bounds) <= mu
        tighter = epsilon_lower([GaussianEvent(1.0 / float(np.median(bounds)))], 1e-6)
        assert float(np.median(one_run)) < tighter < epsilon_bound([GaussianEvent(z)], 1e-6)
        if z <= 2.0:
            assert np.median(bounds) > 0.45 * mu


def test_a_broken_gaussian_is_refuted() -> None:
    """Claims mu = 0.5 and has 1: refuted in each of 20 audits."""
    rng = np.random.default_rng(8)
    m, r = 10_000, 1000
    for _ in range(20):
        coins = rng.random(m) < 0.5
        order = np.argsort(coins + rng.normal(size=m))
        v = int(coins[order[-r // 2 :]].sum() + (~coins[order[: r // 2]]).sum())
        assert f_dp_refutes(m, r, v, 0.5, 0.99)
        assert not f_dp_refutes(m, r, v, 1.0, 0.99)


def test_bound_is_where_the_claim_falls() -> None:
    bound = one_run_mu(1000, 200, 190, 0.95)
    assert f_dp_refutes(1000, 200, 190, bound * 0.9999, 0.95)
    assert not f_dp_refutes(1000, 200, 190, bound * 1.0001, 0.95)
    assert one_run_mu(1000, 200, 100, 0.95) == 0.0
    assert one_run_mu(10**6, 10**5, 10**5, 0.95) <= 64.0


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 0, 0, 1.0, 0.9),
        (10, 11, 5, 1.0, 0.9),
        (10, 5, 6, 1.0, 0.9),
        (10, 5, -1, 1.0, 0.9),
        (10, 5, 3, math.nan, 0.9),
        (10, 5, 3, -1.0, 0.9),
        (10, 5, 3, 1.0, 1.0),
        (True, 1, 1, 1.0, 0.9),
    ],
)
def test_refuses_what_is_no_audit(arguments: tuple[int, int, int, float, float]) -> None:
    with pytest.raises(BadParameter):
        f_dp_refutes(*arguments)
