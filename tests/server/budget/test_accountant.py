"""A running claim is the claim, with the libraries asked now and then."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest

from tacit.privacy.accounting import EpsilonClaim, GaussianEvent, epsilon_without_opacus
from tacit.privacy.errors import AccountantsDisagree
from tacit.server.budget.accountant import CONFIRMED_EVERY, Accountant

DELTA = 1e-6


def test_running_figures_are_those_of_claims() -> None:
    running, claims = Accountant(epsilon_without_opacus), Accountant(epsilon_without_opacus)
    for count in (1, 2, 3, 16, 17, 18, 40, 41, 42, 43):
        for events in (
            [GaussianEvent(8.0, count)],
            [GaussianEvent(8.0, count), GaussianEvent(30.0, 5)],
        ):
            fast, full = running.running_claim(events, DELTA), claims.claim(events, DELTA)
            assert (fast.epsilon, fast.epsilon_lower) == (full.epsilon, full.epsilon_lower)
            assert (fast.accountant, fast.target_delta) == (full.accountant, DELTA)
            assert fast.cross_checks


def test_the_libraries_confirm_at_every_sixteenth() -> None:
    asked: list[float] = []

    def compose(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
        asked.append(sum(one.count for one in events))
        return epsilon_without_opacus(events, target_delta)

    accountant = Accountant(compose)
    for count in range(1, 401):
        accountant.running_claim([GaussianEvent(100.0, count)], DELTA)
    assert asked[:16] == list(range(1, 17))
    for before, after in itertools.pairwise(asked):
        assert before < after <= before * (1 + CONFIRMED_EVERY) + 1
    assert 60 < len(asked) < 80
    accountant.running_claim([GaussianEvent(100.0, 399)], 1e-7)  # another delta, nothing known
    accountant.running_claim([GaussianEvent(200.0, 1)], DELTA)  # a quarter of one release
    assert asked[-2:] == [399, 1]


def test_a_running_claim_never_passes_for_a_confirmed_one() -> None:
    asked: list[int] = []

    def compose(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
        asked.append(events[0].count)
        return epsilon_without_opacus(events, target_delta)

    accountant = Accountant(compose)
    accountant.running_claim([GaussianEvent(8.0, 100)], DELTA)
    running = accountant.running_claim([GaussianEvent(8.0, 101)], DELTA)
    full = accountant.claim([GaussianEvent(8.0, 101)], DELTA)
    assert asked == [100, 101]
    assert running.cross_checks != full.cross_checks
    assert dataclasses.replace(running, cross_checks=full.cross_checks) == full


def test_a_library_that_disagrees_stops_the_spending() -> None:
    def compose(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
        if events[0].count > 20:
            raise AccountantsDisagree("a library gives another figure")
        return epsilon_without_opacus(events, target_delta)

    accountant = Accountant(compose)
    for count in range(1, 21):
        accountant.running_claim([GaussianEvent(8.0, count)], DELTA)
    accountant.running_claim([GaussianEvent(8.0, 21)], DELTA)
    with pytest.raises(AccountantsDisagree):
        accountant.running_claim([GaussianEvent(8.0, 22)], DELTA)
