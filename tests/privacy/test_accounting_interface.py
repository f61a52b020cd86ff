"""One contract for every accountant, and the participation modes and levels built on them."""

import importlib
import math
import warnings
from typing import Any

import pytest

from tacit.privacy.accounting import (
    GaussianEvent,
    PoissonEvent,
    calibrate,
    epsilon,
    epsilon_local,
    epsilon_participation_bounded,
    epsilon_poisson,
)
from tacit.privacy.accounting_interface import (
    ACCOUNTANTS,
    Accountant,
    DpAccountingPld,
    EpsilonBounds,
    OpacusPrv,
    TacitGaussian,
)
from tacit.privacy.accounting_libraries import dp_accounting_pld
from tacit.privacy.accounting_modes import Event, locally_noised, participation_bounded
from tacit.privacy.errors import BadParameter

BAD_REALS: list[Any] = [0, 0.0, -1.0, math.nan, math.inf, -math.inf, True, False, "1.0", None]
DELTA = 1e-5


@pytest.mark.parametrize("accountant", ACCOUNTANTS, ids=lambda one: one.name)
class TestEveryAccountant:
    """What `Accountant` promises."""

    def modes(self, accountant: Accountant) -> list[list[Event]]:
        full: list[Event] = [GaussianEvent(2.0, 3), GaussianEvent(5.0)]
        sampled: list[Event] = [PoissonEvent(1.0, 0.1, 20), GaussianEvent(5.0)]
        return [full] if isinstance(accountant, TacitGaussian) else [full, sampled]

    def test_says_who_it_is(self, accountant: Accountant) -> None:
        assert accountant.name.startswith(("tacit-", "opacus-", "dp-accounting-"))
        assert accountant.version[0].isdigit()

    def test_nothing_costs_nothing(self, accountant: Accountant) -> None:
        assert accountant.bounds([], DELTA) == EpsilonBounds(0.0, 0.0)

    def test_lower_bounds_of_all_are_below_its_upper_bound(self, accountant: Accountant) -> None:
        for events in self.modes(accountant):
            upper = accountant.bounds(events, DELTA).upper
            others = ACCOUNTANTS if len(self.modes(accountant)) == 1 else ACCOUNTANTS[1:]
            for other in others:
                assert 0.0 <= other.bounds(events, DELTA).lower <= upper < 10.0

    def test_more_of_anything_costs_more(self, accountant: Accountant) -> None:
        for events in self.modes(accountant):
            before = accountant.bounds(events, DELTA).upper
            assert accountant.bounds([*events, GaussianEvent(3.0)], DELTA).upper > before
            assert accountant.bounds(events, DELTA / 100).upper > before
            last = accountant.bounds([*events[:-1], GaussianEvent(2.5)], DELTA).upper
            assert last > before

    def test_order_does_not_matter(self, accountant: Accountant) -> None:
        for events in self.modes(accountant):
            turned = accountant.bounds(events[::-1], DELTA).upper
            assert turned == pytest.approx(accountant.bounds(events, DELTA).upper, rel=1e-6)

    def test_a_smaller_sample_costs_less_and_a_whole_one_is_full(
        self, accountant: Accountant
    ) -> None:
        if isinstance(accountant, TacitGaussian):
            with pytest.raises(BadParameter, match="sampled"):
                accountant.bounds([PoissonEvent(1.0, 0.5)], DELTA)
            return
        small, large, whole = (
            accountant.bounds([PoissonEvent(2.0, q, 5)], DELTA).upper for q in (0.01, 0.1, 1.0)
        )
        assert small < large < whole
        assert whole == pytest.approx(
            accountant.bounds([GaussianEvent(2.0, 5)], DELTA).upper, rel=2e-3
        )

    @pytest.mark.parametrize("bad", [*BAD_REALS, 1.0, 1.5])
    def test_delta_is_validated(self, accountant: Accountant, bad: Any) -> None:
        with pytest.raises(BadParameter, match="target_delta"):
            accountant.bounds([GaussianEvent(1.0)], bad)


def test_the_grid_is_refined_until_the_figure_settles() -> None:
    # Published values of one grid each; the coarse one is more than twice the truth.
    history, events = [(1.0, 1e-4, 100_000)], [PoissonEvent(1.0, 1e-4, 100_000)]
    assert dp_accounting_pld(history, 1e-9, 1e-3) == pytest.approx(0.473, abs=5e-4)
    assert dp_accounting_pld(history, 1e-9, 1e-4) == pytest.approx(0.229, abs=5e-4)
    found = DpAccountingPld().bounds(events, 1e-9)
    prv = OpacusPrv().bounds(events, 1e-9)
    assert prv.lower <= found.upper <= prv.upper
    assert found.upper == pytest.approx(0.218, abs=1e-3)


def test_why_the_gaussian_dp_accountant_is_never_used() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of just this
        accountant: Any = importlib.import_module("opacus.accountants").GaussianAccountant()
        accountant.history = [(1.0, 0.01, 1000)]
        figure = accountant.get_epsilon(delta=DELTA)
    certified = OpacusPrv().bounds([PoissonEvent(1.0, 0.01, 1000)], DELTA).lower
    assert figure < certified - 0.1


def test_each_mode_is_named_in_its_claim() -> None:
    events = [GaussianEvent(4.0, 10), GaussianEvent(2.0)]
    full, bounded = epsilon(events, DELTA), epsilon_participation_bounded(events, 3, DELTA)
    assert (full.participation, full.sampling, full.trust_level) == ("full", "none", "central")
    assert (bounded.participation, bounded.sampling) == ("bounded:3", "none")
    assert bounded.epsilon == epsilon([GaussianEvent(2.0), GaussianEvent(4.0, 2)], DELTA).epsilon
    assert bounded.epsilon < full.epsilon
    poisson = epsilon_poisson([PoissonEvent(1.0, 0.01, 1000)], DELTA)
    assert (poisson.participation, poisson.sampling) == ("poisson", "poisson")
    # A device that really takes part ten times has no use for that figure.
    assert 1.81 <= poisson.epsilon_lower <= poisson.epsilon <= 1.84
    assert epsilon([GaussianEvent(1.0, 10)], DELTA).epsilon > 9 * poisson.epsilon


def test_a_bound_beyond_all_releases_is_full_participation() -> None:
    events = [GaussianEvent(4.0, 10), GaussianEvent(2.0)]
    assert sum(event.count for event in participation_bounded(events, 100)) == 11


def test_the_local_level_uses_twice_the_clipping_norm() -> None:
    claim = epsilon_local([GaussianEvent(4.0, 3)], DELTA)
    assert claim.epsilon == epsilon([GaussianEvent(2.0, 3)], DELTA).epsilon
    assert (claim.trust_level, claim.neighboring_relation) == ("local", "replace")
    with pytest.raises(BadParameter, match="noise_multiplier"):
        locally_noised([GaussianEvent(1.5e-3)])


@pytest.mark.parametrize("bad", [*BAD_REALS, 1.0001, 2])
def test_sampling_probability_is_validated(bad: Any) -> None:
    with pytest.raises(BadParameter, match="sampling_probability"):
        PoissonEvent(1.0, bad)


@pytest.mark.parametrize("bad", BAD_REALS)
def test_other_fields_of_a_sampled_release_are_validated(bad: Any) -> None:
    with pytest.raises(BadParameter, match="noise_multiplier"):
        PoissonEvent(bad, 0.5)
    with pytest.raises(BadParameter, match="count"):
        PoissonEvent(1.0, 0.5, bad)
    with pytest.raises(BadParameter, match="participation bound"):
        participation_bounded([GaussianEvent(1.0)], bad)


def test_a_sampled_release_cannot_pass_for_a_paid_event() -> None:
    document = PoissonEvent(1.0, 0.01).to_json()
    with pytest.raises(ValueError, match="event"):
        GaussianEvent.from_json(document)


@pytest.mark.parametrize("accountant", ACCOUNTANTS[1:3], ids=lambda one: one.name)
def test_noise_below_the_lattice_is_refused(accountant: Accountant) -> None:
    with pytest.raises(BadParameter, match="noise_multiplier"):
        accountant.bounds([GaussianEvent(0.0015)], DELTA)


def test_a_target_so_large_that_no_noise_is_left_is_refused() -> None:
    with pytest.raises(BadParameter, match="noise_multiplier"):
        calibrate(1e9, DELTA, [1.0])
