"""Epsilon: two accountants, the closed form below them, validation, calibration."""

import ast
import importlib
import math
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy import accounting
from tacit.privacy.accounting import (
    ORDERS,
    CrossCheck,
    GaussianEvent,
    calibrate,
    epsilon,
    epsilon_bound,
    epsilon_dp_accounting,
    epsilon_dp_accounting_pld,
    epsilon_lower,
    epsilon_opacus,
    epsilon_rdp,
    epsilon_without_opacus,
    require_confirmed,
)
from tacit.privacy.accounting_closed_form import LATTICE, delta_bounds, epsilon_upper
from tacit.privacy.errors import AccountantsDisagree, BadDocument, BadParameter
from tacit.privacy.gaussian_event import MIN_SENSITIVITY

mpmath: Any = importlib.import_module("mpmath")

BAD_REALS = [0, 0.0, -1.0, math.nan, math.inf, -math.inf, True, False, "1.0", None, 1j]
DELTAS = st.floats(-12.0, -1.0).map(lambda power: 10.0**power)
EVENTS = st.lists(
    st.builds(
        GaussianEvent,
        st.floats(-1.0, 2.5).map(lambda power: 10.0**power),
        st.integers(1, 50),
    ),
    min_size=1,
    max_size=6,
)


def exact_delta(events: list[GaussianEvent], at_epsilon: float, mu: float | None = None) -> Any:
    """Return the exact delta of composed Gaussians at `at_epsilon`.

    Independent Gaussian releases compose to one Gaussian with ``mu^2 = sum 1/z^2``, whose delta is
    ``Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu)`` (Balle, Wang 2018, arXiv:1805.06530,
    Theorem 8).
    """
    with mpmath.workdps(60):
        of_events = mpmath.sqrt(sum(e.count / mpmath.mpf(e.noise_multiplier) ** 2 for e in events))
        m = of_events if mu is None else mpmath.mpf(mu)
        eps = mpmath.mpf(at_epsilon)
        return mpmath.ncdf(m / 2 - eps / m) - mpmath.exp(eps) * mpmath.ncdf(-m / 2 - eps / m)


def interval(events: list[GaussianEvent], delta: float) -> tuple[float, float]:
    """Return optimistic and pessimistic figures of one merged Gaussian, by dp-accounting."""
    loss: Any = importlib.import_module("dp_accounting.pld.privacy_loss_distribution")
    mu = math.sqrt(sum(event.count / event.noise_multiplier**2 for event in events))
    step = mu / 200.0
    low, high = (
        loss.from_gaussian_mechanism(
            1.0 / mu,
            pessimistic_estimate=pessimistic,
            value_discretization_interval=step,
            use_connect_dots=pessimistic,
        ).get_epsilon_for_delta(delta)
        for pessimistic in (False, True)
    )
    return float(low), float(high)


def check_configuration(events: list[GaussianEvent], delta: float) -> None:
    """Hold a figure against the exact Gaussian, a privacy-loss distribution and Renyi bounds."""
    figure, lower = epsilon_bound(events, delta), epsilon_lower(events, delta)
    # Never below the exact figure, and so near that 0.1% less is refused by it.
    assert exact_delta(events, figure) <= delta
    assert exact_delta(events, lower) >= delta or lower == 0.0
    if figure > 0.01:
        assert exact_delta(events, figure * (1 - 1e-3) - 1e-6) > delta
    assert lower <= figure <= epsilon_rdp(events, delta)
    if 0.01 < figure < 250.0:
        tightest, high = interval(events, delta)
        assert tightest <= figure <= high * (1 + 1e-3)
    claim = epsilon(events, delta)
    assert figure <= claim.epsilon <= figure + 1.000001e-6
    assert lower - 1.000001e-6 <= claim.epsilon_lower <= lower


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, delta=DELTAS)
def test_the_figure_is_never_below_the_tightest_trusted_bound(
    events: list[GaussianEvent], delta: float
) -> None:
    check_configuration(events, delta)


@pytest.mark.long
@settings(max_examples=1000, deadline=None)
@given(events=EVENTS, delta=DELTAS)
def test_a_thousand_figures_are_never_below_the_tightest_trusted_bound(
    events: list[GaussianEvent], delta: float
) -> None:
    check_configuration(events, delta)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, delta=DELTAS)
def test_two_libraries_give_one_renyi_figure(events: list[GaussianEvent], delta: float) -> None:
    google = epsilon_dp_accounting(events, delta)
    assert epsilon_opacus(events, delta) == pytest.approx(google, rel=1e-6, abs=1e-9)
    assert epsilon_rdp(events, delta) == pytest.approx(google, rel=1e-6, abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(mu=st.floats(-4.0, 1.0).map(lambda power: 10.0**power), reach=st.floats(0.0, 35.0))
def test_delta_is_bracketed_to_the_last_digits(mu: float, reach: float) -> None:
    at_epsilon = mu * reach
    low, high = delta_bounds(mu, at_epsilon)
    exact = exact_delta([GaussianEvent(1.0)], at_epsilon, mu)
    # epsilon / mu is rounded once: its effect on delta is the caller's, and below this.
    blur = 1 + 1e-12
    assert low <= exact * blur
    assert exact <= high * blur
    assert high <= low * (1 + 1e-8 * max(1.0, 1e-2 / mu))


@pytest.mark.parametrize("z", [0.02, 0.05, 1.0, 7.0])
@pytest.mark.parametrize("deviations", [-1.0, 0.5, 4.0])
def test_the_discrete_gaussian_itself_lies_between_the_bounds(z: float, deviations: float) -> None:
    # The true delta of one release whose sum moves by L along one axis, summed over the integers.
    sensitivity, sigma = MIN_SENSITIVITY, z * MIN_SENSITIVITY
    at_epsilon = abs(0.5 / z**2 + deviations / z)
    with mpmath.workdps(30):
        rate = 1 / (2 * mpmath.mpf(sigma) ** 2)
        total = mpmath.sqrt(mpmath.pi / rate)  # off by exp(-2 pi^2 sigma^2), below 1e-1000 here
        # P is worth e^epsilon Q where x, from Q's centre, is sigma^2 epsilon / L + L / 2.
        edge = int(mpmath.mpf(sigma) ** 2 * at_epsilon / sensitivity + sensitivity / 2) + 1
        delta = mpmath.mpf(0)
        for x in range(edge, max(edge, sensitivity) + int(12 * sigma)):
            q = mpmath.exp(at_epsilon - rate * x * x)
            delta += mpmath.exp(-rate * (x - sensitivity) ** 2) - q
        exact = float(delta / total)
    low, high = epsilon_lower([GaussianEvent(z)], exact), epsilon_upper([GaussianEvent(z)], exact)
    assert low <= at_epsilon <= high <= low * (1 + 8 * LATTICE / z**2)


def test_rounding_a_gaussian_onto_the_integers_is_the_discrete_gaussian() -> None:
    # The identity that the bound rests on, by quadrature: N(v, s^2), then weights around it.
    sigma, radius = 3.0, 2.0
    spread = math.sqrt(sigma**2 - radius**2)
    with mpmath.workdps(20):
        normal = mpmath.sqrt(2 * mpmath.pi)
        total = mpmath.fsum(mpmath.exp(-(mpmath.mpf(k) ** 2) / 18) for k in range(-60, 61))
        for z in (0, 5):

            def joint(y: Any, z: int = z) -> Any:
                weights = sum(
                    mpmath.exp(-((k - y) ** 2) / (2 * radius**2))
                    for k in range(int(y) - 18, int(y) + 19)
                )
                bell = mpmath.exp(-(y**2) / (2 * spread**2)) / (spread * normal)
                return bell * mpmath.exp(-((z - y) ** 2) / (2 * radius**2)) / weights

            got = mpmath.quad(joint, mpmath.linspace(-20, 20, 11))
            want = mpmath.exp(-(mpmath.mpf(z) ** 2) / (2 * sigma**2)) / total
            assert abs(got / want - 1) < 1e-12


def test_a_known_figure() -> None:
    # z = 1, delta = 1e-5: 4.377 exactly (analytic Gaussian), 4.728 by RDP in the literature.
    claim = epsilon([GaussianEvent(1.0)], 1e-5)
    assert claim.epsilon == pytest.approx(4.3772, abs=1e-4)
    assert claim.epsilon_lower == pytest.approx(4.3772, abs=1e-4)
    assert epsilon_rdp([GaussianEvent(1.0)], 1e-5) == pytest.approx(4.729, abs=0.002)
    assert exact_delta([GaussianEvent(1.0)], 4.377) == pytest.approx(1e-5, rel=5e-3)
    # Ten campaigns compose to far less than ten times one.
    assert epsilon([GaussianEvent(4.0, 10)], 1e-6).epsilon < 0.5 * (
        10 * epsilon([GaussianEvent(4.0)], 1e-6).epsilon
    )


def test_a_claim_says_everything_beside_its_figure() -> None:
    claim = epsilon([GaussianEvent(2.0, 3), GaussianEvent(5.0)], 1e-6)
    document = claim.to_json()
    pld, renyi = claim.cross_checks
    assert document == {
        "epsilon": repr(claim.epsilon),
        "epsilon_lower": repr(claim.epsilon_lower),
        "target_delta": "1e-06",
        "accountant": "tacit-gaussian",
        "accountant_version": "1",
        "cross_checks": [
            {
                "epsilon": repr(pld.epsilon),
                "epsilon_lower": repr(pld.epsilon_lower),
                "accountant": "dp-accounting-pld",
                "accountant_version": version("dp-accounting"),
            },
            {
                "epsilon": repr(renyi.epsilon),
                "epsilon_lower": "0.0",
                "accountant": "opacus-rdp",
                "accountant_version": version("opacus"),
            },
        ],
        "unit": "user",
        "neighboring_relation": "add_remove",
        "trust_level": "central",
        "participation": "full",
        "sampling": "none",
    }
    assert claim.epsilon == round(claim.epsilon, 6)
    assert pld.epsilon_lower <= claim.epsilon_lower + 1e-6 <= claim.epsilon + 1e-6
    assert claim.epsilon <= renyi.epsilon


def test_order_and_grouping_of_events_do_not_matter() -> None:
    events = [GaussianEvent(2.0, 2), GaussianEvent(3.0), GaussianEvent(7.0, 5)]
    split = [GaussianEvent(7.0, 3), GaussianEvent(2.0), GaussianEvent(3.0)]
    split += [GaussianEvent(2.0), GaussianEvent(7.0, 2)]
    assert epsilon(events, 1e-6).epsilon == epsilon(split, 1e-6).epsilon


def test_no_events_cost_nothing() -> None:
    assert epsilon([], 1e-6).epsilon == 0.0
    assert epsilon_rdp([], 1e-6) == 0.0


@pytest.mark.parametrize(
    ("figure", "check"),
    [
        (4.0, CrossCheck(8.0, "opacus-rdp", "1")),
        (8.1, CrossCheck(8.0, "opacus-rdp", "1")),
        (7.9, CrossCheck(8.0, "dp-accounting-pld", "1")),
        (8.1, CrossCheck(8.0, "dp-accounting-pld", "1")),
        (7.999, CrossCheck(8.0, "dp-accounting-pld", "1", 7.9995)),
        (math.nan, CrossCheck(8.0, "opacus-rdp", "1")),
        (8.0, CrossCheck(math.nan, "opacus-rdp", "1")),
        (math.nan, CrossCheck(8.0, "dp-accounting-pld", "1")),
        (8.0, CrossCheck(8.0, "dp-accounting-pld", "1", math.nan)),
    ],
    ids=str,
)
def test_disagreement_is_refused(figure: float, check: CrossCheck) -> None:
    require_confirmed(0.0, CrossCheck(0.0, "opacus-rdp", "1"))
    require_confirmed(8.0, CrossCheck(8.001, "dp-accounting-pld", "1", 7.97))
    with pytest.raises(AccountantsDisagree):
        require_confirmed(figure, check)


@pytest.mark.parametrize("broken", ["epsilon_bound", "epsilon_dp_accounting_pld", "epsilon_opacus"])
def test_any_accountant_that_halves_is_found_out(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    real: Any = getattr(accounting, broken)

    def halved(events: list[GaussianEvent], target_delta: float) -> Any:
        figure = real(events, target_delta)
        return np.array(figure) / 2 if broken.endswith("_pld") else figure / 2

    monkeypatch.setattr(accounting, broken, halved)
    for z in (0.2, 1.0, 10.0):
        with pytest.raises(AccountantsDisagree):
            epsilon([GaussianEvent(z)], 1e-6)


@pytest.mark.parametrize(
    "events",
    [
        [GaussianEvent(0.001)],
        [GaussianEvent(0.03)],
        [GaussianEvent(1e4, 2**31)],
        [GaussianEvent(0.5), GaussianEvent(300.0, 70_000), GaussianEvent(9000.0, 1000)],
        [GaussianEvent(100.0, 10_000)],
    ],
    ids=str,
)
def test_extreme_events_are_confirmed_too(events: list[GaussianEvent]) -> None:
    assert epsilon(events, 1e-6) != epsilon_without_opacus(events, 1e-6)
    assert epsilon(events, 1e-6).epsilon == epsilon_without_opacus(events, 1e-6).epsilon


@pytest.mark.parametrize("bad", [*BAD_REALS, 1.0, 1.5])
def test_delta_is_validated(bad: float) -> None:
    for path in (
        epsilon_opacus,
        epsilon_dp_accounting,
        epsilon_dp_accounting_pld,
        epsilon_rdp,
        epsilon_bound,
        epsilon_upper,
        epsilon_lower,
    ):
        with pytest.raises(BadParameter, match="target_delta"):
            path([GaussianEvent(1.0)], bad)
    with pytest.raises(BadParameter, match="target_delta"):
        epsilon([], bad)
    with pytest.raises(BadParameter, match="target_delta"):
        calibrate(1.0, bad, [1.0])


@pytest.mark.parametrize("bad", [*BAD_REALS, 1e-4, 1e5])
def test_noise_multiplier_is_validated(bad: float) -> None:
    with pytest.raises(BadParameter, match="noise_multiplier"):
        GaussianEvent(bad)


@pytest.mark.parametrize("bad", [0, -1, 1.0, math.nan, math.inf, True, "3", None, 2**40])
def test_count_is_validated(bad: int) -> None:
    with pytest.raises(BadParameter, match="count"):
        GaussianEvent(1.0, bad)


@given(z=st.floats(1e-3, 1e4), count=st.integers(1, 2**31))
def test_events_survive_their_document(z: float, count: int) -> None:
    event = GaussianEvent(z, count)
    document = event.to_json()
    assert isinstance(document["noise_multiplier"], str)
    assert GaussianEvent.from_json(document) == event


def test_numpy_numbers_become_plain_ones() -> None:
    event = GaussianEvent(np.float64(1.5), int(np.int64(2)))
    assert event.to_json()["noise_multiplier"] == "1.5"


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 1.5},
        {"noise_multiplier": "1.50"},
        {"noise_multiplier": "nan"},
        {"noise_multiplier": "inf"},
        {"noise_multiplier": "1e999"},
        {"noise_multiplier": "-1.5"},
        {"noise_multiplier": "much"},
        {"count": "2"},
        {"count": 0},
        {"count": True},
        {"count": 2.0},
        {"mechanism": "laplace"},
        {"sampling": "poisson"},
        {"extra": 1},
    ],
    ids=str,
)
def test_other_event_documents_are_refused(change: dict[str, object]) -> None:
    document: dict[str, object] = {**GaussianEvent(1.5, 2).to_json(), **change}
    with pytest.raises(BadDocument):
        GaussianEvent.from_json(document)


@pytest.mark.parametrize("key", ["mechanism", "sampling", "noise_multiplier", "count"])
def test_incomplete_event_documents_are_refused(key: str) -> None:
    document: dict[str, object] = {**GaussianEvent(1.5, 2).to_json()}
    del document[key]
    with pytest.raises(BadDocument):
        GaussianEvent.from_json(document)


@settings(max_examples=100, deadline=None)
@given(
    target=st.floats(0.05, 50.0),
    delta=st.floats(-10.0, -4.0).map(lambda power: 10.0**power),
    weights=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6),
)
def test_calibration_spends_the_target_and_no_more(
    target: float, delta: float, weights: list[float]
) -> None:
    shares = [weight / math.fsum(weights) for weight in weights]
    multipliers = calibrate(target, delta, shares)
    events = [GaussianEvent(z) for z in multipliers]
    assert target - 1.1e-6 < epsilon_bound(events, delta) <= target
    for z, share in zip(multipliers, shares, strict=True):
        assert (z**2 - LATTICE) * share == pytest.approx(
            (multipliers[0] ** 2 - LATTICE) * shares[0], rel=1e-9
        )


@pytest.mark.parametrize("target", [0.1, 1.0, 3.3, 8.0, 8.25])
def test_the_reported_figure_of_a_calibrated_plan_is_the_target(target: float) -> None:
    events = [GaussianEvent(z) for z in calibrate(target, 1e-6, [0.1, 0.3, 0.3, 0.3])]
    assert epsilon(events, 1e-6).epsilon == target


def test_unspent_shares_stay_unspent() -> None:
    half = [GaussianEvent(z) for z in calibrate(8.0, 1e-6, [0.25, 0.25])]
    assert epsilon_bound(half, 1e-6) < 6.0
    whole = [*half, *(GaussianEvent(z) for z in calibrate(8.0, 1e-6, [0.5]))]
    assert epsilon_bound(whole, 1e-6) == pytest.approx(8.0, abs=1e-6)


@pytest.mark.parametrize(("target", "renyi"), [(8.0, 0.6377), (3.0, 1.4932), (1.0, 4.0454)])
def test_calibration_needs_less_noise_than_renyi_accounting(target: float, renyi: float) -> None:
    (z,) = calibrate(target, 1e-5, [1.0])
    assert epsilon_rdp([GaussianEvent(renyi)], 1e-5) == pytest.approx(target, abs=1e-3)
    assert z < 0.945 * renyi


@pytest.mark.parametrize("bad", [*BAD_REALS, 1e-9])
def test_the_target_is_validated(bad: float) -> None:
    with pytest.raises(BadParameter):
        calibrate(bad, 1e-6, [1.0])


@pytest.mark.parametrize("shares", [[], [0.5, 0.6], [1.1], *[[0.1, bad] for bad in BAD_REALS]])
def test_shares_are_validated(shares: list[float]) -> None:
    with pytest.raises(BadParameter, match="share"):
        calibrate(1.0, 1e-6, shares)


def test_delta_must_be_below_one_over_the_users() -> None:
    assert calibrate(1.0, 1e-4, [1.0], n_users=9_999) == calibrate(1.0, 1e-4, [1.0])
    with pytest.raises(BadParameter, match="below 1/10000"):
        calibrate(1.0, 1e-4, [1.0], n_users=10_000)
    for bad in BAD_REALS:
        if bad is not None:
            with pytest.raises(BadParameter, match="n_users"):
                calibrate(1.0, 1e-4, [1.0], n_users=bad)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_target_out_of_reach_is_refused() -> None:
    with pytest.raises(BadParameter):
        calibrate(1e-5, 1e-9, [1.0])


def test_orders_are_increasing_and_accepted_by_both_libraries() -> None:
    assert list(ORDERS) == sorted(set(ORDERS))
    # dp-accounting returns infinity at orders up to 1.01.
    assert ORDERS[0] > 1.01
    assert set(importlib.import_module("opacus.accountants").RDPAccountant.DEFAULT_ALPHAS) <= set(
        ORDERS
    )


def test_the_gaussian_dp_accountant_is_never_used() -> None:
    sources = sorted(Path(accounting.__file__).parent.glob("*.py"))
    assert len(sources) > 10
    imported = {
        alias.name
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "RDPAccountant" in imported
    assert not any(
        "gaussianaccountant" in name.lower() or "gdp" in name.lower() for name in imported
    )


def test_a_device_can_account_without_the_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from tacit.privacy import accounting, budget, discrete_gaussian, quantize\n"
        "z, = accounting.calibrate(1.0, 1e-6, [1.0])\n"
        "print(accounting.epsilon_bound([accounting.GaussianEvent(z)], 1e-6))\n"
        "heavy = {'torch', 'opacus', 'dp_accounting', 'scipy', 'flwr', 'grpc', 'google.protobuf'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1.0, abs=1e-5)


def test_claims_are_frozen_values() -> None:
    claim = epsilon([GaussianEvent(1.0)], 1e-6)
    assert replace(claim, epsilon=claim.epsilon) == claim
    with pytest.raises(AttributeError):
        claim.epsilon = 0.0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("huge", [1e13, 1e300, 1.7e308])
def test_an_epsilon_beyond_all_accounting_is_refused_in_words(huge: float) -> None:
    with pytest.raises(BadParameter, match="epsilon: expected"):
        calibrate(huge, 1e-6, [1.0])
