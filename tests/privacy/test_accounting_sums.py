"""A composition that is followed release by release is the one that is composed at once."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.privacy.accounting import (
    GaussianEvent,
    GaussianSums,
    RunningComposition,
    epsilon_bound,
    epsilon_bound_of_sums,
    lower_of_sums,
)
from tacit.privacy.accounting_closed_form import LATTICE, epsilon_lower
from tacit.privacy.errors import BadParameter

EVENTS = st.builds(
    GaussianEvent,
    st.sampled_from([1e-3, 0.0019, 0.002, 0.3, 1.0, 7.77, 1e3, 1e4]) | st.floats(1e-3, 1e4),
    st.integers(1, 1000),
    st.just(2048),
    st.sampled_from(["central", "local"]),
)


@given(st.lists(EVENTS, max_size=12), st.lists(st.integers(0, 11), max_size=12))
def test_what_is_left_is_what_was_not_taken_away(
    events: list[GaussianEvent], taken: list[int]
) -> None:
    running, left = RunningComposition(events), list(events)
    for place in taken:
        if place < len(left):
            running.remove(left.pop(place))
    merged = RunningComposition(left).events()
    assert running.events() == merged
    assert running.trust_levels == {event.trust_level for event in left}
    # Digit for digit, as `math.fsum` composes the same events at once.
    assert running.sums == GaussianSums.of(merged)
    assert running.sums.releases == sum(event.count for event in left)
    for delta in (1e-9, 1e-5):
        assert epsilon_bound_of_sums(running.sums, delta) == epsilon_bound(merged, delta)
        assert lower_of_sums(running.sums, delta) == epsilon_lower(merged, delta)


def test_the_sums_are_those_of_the_theorem() -> None:
    sums = RunningComposition([GaussianEvent(0.5, 3), GaussianEvent(2.0)]).sums
    assert sums.inverse_squares == 12.25
    assert sums.upper_mu_squared == math.fsum((3 / (0.25 - LATTICE), 1 / (4.0 - LATTICE)))
    assert sums.lower_mu_squared == math.fsum((3 / (0.25 + LATTICE), 1 / (4.0 + LATTICE)))
    assert 0.0 < sums.lower_eta < 1e-30


def test_noise_too_small_for_the_lattice_bounds_nothing_while_it_is_in() -> None:
    running = RunningComposition([GaussianEvent(1.0), GaussianEvent(1e-3)])
    assert running.sums.upper_mu_squared == running.sums.lower_eta == math.inf
    running.remove(GaussianEvent(1e-3))
    assert running.sums == GaussianSums.of([GaussianEvent(1.0)])


def test_nothing_is_taken_away_that_is_not_there() -> None:
    running = RunningComposition([GaussianEvent(8.0, 2)])
    for missing in (GaussianEvent(8.0, 3), GaussianEvent(9.0)):
        with pytest.raises(BadParameter, match="expected at least"):
            running.remove(missing)
    assert running.events() == (GaussianEvent(8.0, 2),)
    running.remove(GaussianEvent(8.0, 2))
    assert running.sums == GaussianSums.of([])
    assert epsilon_bound_of_sums(running.sums, 1e-5) == 0.0
