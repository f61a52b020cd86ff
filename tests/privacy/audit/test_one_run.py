"""The one-run bound against its definition in the paper, and against known mechanisms."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy.audit import one_run_epsilon, one_run_p_value, rate_test
from tacit.privacy.errors import BadParameter

stats: Any = importlib.import_module("scipy.stats")  # ships no types


def reference(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """The paper's bound from its definition: a binomial tail, plus delta's steepest share."""
    guesses = stats.binom(r, math.exp(epsilon) / (1 + math.exp(epsilon)))
    shares = [(guesses.cdf(v - 1) - guesses.cdf(v - i - 1)) / i for i in range(1, v + 1)]
    return min(1.0, float(guesses.sf(v - 1)) + 2 * m * delta * float(max(shares, default=0.0)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 120), st.data(), st.floats(0, 6), st.sampled_from((0.0, 1e-9, 1e-5, 1e-2)))
def test_p_value_is_that_of_the_paper(
    m: int, data: st.DataObject, epsilon: float, delta: float
) -> None:
    r = data.draw(st.integers(1, m))
    v = data.draw(st.integers(0, r))
    expected = reference(m, r, v, epsilon, delta)
    assert one_run_p_value(m, r, v, epsilon, delta) == pytest.approx(expected, rel=1e-9, abs=1e-13)


def test_p_value_is_the_published_one() -> None:
    """75 of 100 at epsilon log 3 is the middle of the distribution (Appendix D): 0.553."""
    assert one_run_p_value(100, 100, 75, math.log(3), 0.0) == pytest.approx(0.553, abs=5e-4)


def test_bound_is_where_the_p_value_crosses_the_level() -> None:
    bound = one_run_epsilon(1000, 200, 180, 1e-5, 0.95)
    assert reference(1000, 200, 180, bound - 1e-6, 1e-5) < 0.05
    assert reference(1000, 200, 180, bound + 1e-6, 1e-5) >= 0.05
    assert 1.0 < bound < math.log(180 / 20)


def test_bound_rarely_exceeds_a_known_epsilon_and_comes_near() -> None:
    """Randomized response, where the bound is tight: 1% may exceed; 35 of 1,500 has chance 1e-5."""
    rng = np.random.default_rng(5)
    for epsilon in (0.5, 2.0):
        correct = rng.binomial(2000, 1 / (1 + math.exp(-epsilon)), 1500).tolist()
        bounds = {v: one_run_epsilon(2000, 2000, v, 0.0, 0.99) for v in set(correct)}
        assert sum(bounds[v] > epsilon for v in correct) < 35
        assert np.median([bounds[v] for v in correct]) > 0.75 * epsilon


def test_chance_refutes_nothing_and_delta_costs() -> None:
    assert one_run_epsilon(1000, 1000, 500, 1e-6, 0.95) == 0.0
    strict, loose = (one_run_epsilon(1000, 100, 99, delta, 0.95) for delta in (0.0, 1e-4))
    assert 0 < loose < strict


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 0, 0, 1.0, 0.0),
        (10, 11, 5, 1.0, 0.0),
        (10, 5, 6, 1.0, 0.0),
        (10, 5, -1, 1.0, 0.0),
        (10, 5, 3, math.nan, 0.0),
        (10, 5, 3, -1.0, 0.0),
        (10, 5, 3, 1.0, 1.0),
        (True, 1, 1, 1.0, 0.0),
    ],
)
def test_refuses_what_is_no_audit(arguments: tuple[int, int, int, float, float]) -> None:
    with pytest.raises(BadParameter):
        one_run_p_value(*arguments)


def test_rate_test_is_the_exact_binomial_test() -> None:
    low = rate_test(30, 1000, 0.05, 0.01)
    assert low.p_value == pytest.approx(2 * float(stats.binom.cdf(30, 1000, 0.05)), rel=1e-9)
    assert low.findings
    assert not rate_test(50, 1000, 0.05, 0.01).findings
    with pytest.raises(BadParameter):
        rate_test(11, 10, 0.5, 0.01)
