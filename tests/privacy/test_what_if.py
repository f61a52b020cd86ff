"""What-if figures are the accountant's own, read in each direction."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy.accounting import GaussianEvent, epsilon_bound, epsilon_without_opacus
from tacit.privacy.accounting_quick import epsilon_without_libraries
from tacit.privacy.errors import BadParameter
from tacit.privacy.what_if import MAX_ROUNDS, room, solve

EPSILONS = st.floats(0.05, 30.0)
DELTAS = st.sampled_from([1e-9, 1e-6, 1e-4])


@settings(max_examples=60, deadline=None)
@given(epsilon=EPSILONS, rounds=st.integers(1, 40), delta=DELTAS)
def test_noise_found_spends_what_was_asked_and_hardly_less(
    epsilon: float, rounds: int, delta: float
) -> None:
    plan = solve(delta, epsilon=epsilon, rounds=rounds)
    assert plan.epsilon <= epsilon + 1e-6
    assert plan.epsilon >= epsilon - 1e-4
    assert plan.epsilon_lower <= plan.epsilon
    again = solve(delta, noise_multiplier=plan.noise_multiplier, rounds=rounds)
    assert (again.epsilon, again.solved_for) == (plan.epsilon, "epsilon")


@settings(max_examples=40, deadline=None)
@given(epsilon=st.floats(1.0, 30.0), z=st.floats(6.0, 200.0), delta=DELTAS)
def test_rounds_found_are_the_most_that_fit(epsilon: float, z: float, delta: float) -> None:
    plan = solve(delta, epsilon=epsilon, noise_multiplier=z)
    assert epsilon_bound([GaussianEvent(z, plan.rounds)], delta) <= epsilon
    if plan.rounds < MAX_ROUNDS:
        assert epsilon_bound([GaussianEvent(z, plan.rounds + 1)], delta) > epsilon - 1e-6


@settings(max_examples=60, deadline=None)
@given(
    spent=st.lists(st.tuples(st.floats(1.0, 60.0), st.integers(1, 5)), max_size=5),
    cap=st.floats(0.5, 20.0),
    rounds=st.integers(1, 9),
    delta=DELTAS,
)
def test_room_is_admitted_and_nothing_much_larger_is(
    spent: list[tuple[float, int]], cap: float, rounds: int, delta: float
) -> None:
    events = [GaussianEvent(z, count) for z, count in spent]
    left = room(events, cap, delta)
    before = epsilon_bound(events, delta)
    if before >= cap:
        assert left == 0.0
        return
    if left < 0.01:
        return
    task = solve(delta, epsilon=left, rounds=rounds).event
    assert epsilon_bound([*events, task], delta) <= cap
    # By composition more is left than what adding epsilons would say.
    assert left >= cap - before - 1e-4
    larger = solve(delta, epsilon=left + 0.01, rounds=rounds).event
    assert epsilon_bound([*events, larger], delta) > cap


def test_figures_without_libraries_are_those_of_the_accountant() -> None:
    for events in ([], [GaussianEvent(1.0)], [GaussianEvent(4.0, 7), GaussianEvent(0.8)]):
        quick, full = (
            claim(events, 1e-6) for claim in (epsilon_without_libraries, epsilon_without_opacus)
        )
        assert (quick.epsilon, quick.epsilon_lower) == (full.epsilon, full.epsilon_lower)
        assert (quick.accountant, quick.accountant_version) == (
            full.accountant,
            full.accountant_version,
        )
        assert quick.cross_checks


BAD: list[Any] = [0, -1, math.nan, math.inf, -math.inf, True, "1", None]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["epsilon", "noise_multiplier", "rounds"])
@pytest.mark.parametrize("beside", ["epsilon", "noise_multiplier", "rounds"])
def test_bad_parameters_are_refused(name: str, beside: str, bad: Any) -> None:
    if name == beside:
        return
    good: dict[str, Any] = {"epsilon": 3.0, "noise_multiplier": 4.0, "rounds": 5}
    with pytest.raises(BadParameter):
        solve(1e-6, **{beside: good[beside], name: bad})


@pytest.mark.parametrize("bad", [*BAD, 1.0, 0.01])
def test_delta_is_below_one_over_the_users(bad: Any) -> None:
    with pytest.raises(BadParameter):
        solve(bad, epsilon=1.0, rounds=2, n_users=100)
    assert solve(0.0099, epsilon=1.0, rounds=2, n_users=100).rounds == 2


@pytest.mark.parametrize("bad", BAD[:-1])
def test_users_are_a_positive_integer(bad: Any) -> None:
    with pytest.raises(BadParameter):
        solve(1e-6, epsilon=1.0, rounds=2, n_users=bad)


def test_not_exactly_two_is_refused() -> None:
    for given_ in ({}, {"epsilon": 1.0}, {"epsilon": 1.0, "noise_multiplier": 2.0, "rounds": 3}):
        with pytest.raises(BadParameter, match="exactly two"):
            solve(1e-6, **given_)  # type: ignore[arg-type]


def test_one_round_that_costs_more_than_epsilon_says_what_it_costs() -> None:
    with pytest.raises(BadParameter, match=r"expected at least 4\.377"):
        solve(1e-5, epsilon=1.0, noise_multiplier=1.0)
