"""Epsilon: two accountants, the closed form below them, validation, calibration."""

import ast
import importlib
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy import accounting
from tacit.privacy.accounting import (
    ORDERS,
    GaussianEvent,
    calibrate,
    epsilon,
    epsilon_dp_accounting,
    epsilon_opacus,
    epsilon_rdp,
    require_agreement,
)
from tacit.privacy.errors import AccountantsDisagree, BadDocument, BadParameter

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


def exact_delta(events: list[GaussianEvent], at_epsilon: float) -> Any:
    """Return the exact delta of composed Gaussians at `at_epsilon`.

    Independent Gaussian releases compose to one Gaussian with ``mu^2 = sum 1/z^2``, whose delta is
    ``Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu)`` (Balle, Wang 2018, arXiv:1805.06530,
    Theorem 8).
    """
    with mpmath.workdps(60):
        mu = mpmath.sqrt(sum(e.count / mpmath.mpf(e.noise_multiplier) ** 2 for e in events))
        eps = mpmath.mpf(at_epsilon)
        return mpmath.ncdf(mu / 2 - eps / mu) - mpmath.exp(eps) * mpmath.ncdf(-mu / 2 - eps / mu)


@settings(max_examples=1000, deadline=None)
@given(events=EVENTS, delta=DELTAS)
def test_the_figure_is_never_below_the_exact_gaussian(
    events: list[GaussianEvent], delta: float
) -> None:
    figure = epsilon_rdp(events, delta)
    assert exact_delta(events, figure) <= delta
    # Renyi accounting is loose by at most 17% here, so 80% of its figure is not enough.
    if figure > 0.05 and delta <= 1e-4:
        assert exact_delta(events, 0.8 * figure) > delta


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, delta=DELTAS)
def test_three_paths_give_one_figure(events: list[GaussianEvent], delta: float) -> None:
    opacus, google = epsilon_opacus(events, delta), epsilon_dp_accounting(events, delta)
    require_agreement(opacus, google)
    require_agreement(opacus, epsilon_rdp(events, delta))
    claim = epsilon(events, delta)
    assert opacus <= claim.epsilon <= opacus + 1.000001e-6
    assert exact_delta(events, claim.epsilon) <= delta


@settings(max_examples=25, deadline=None)
@given(
    events=st.lists(
        st.builds(GaussianEvent, st.floats(0.8, 20.0), st.integers(1, 4)), min_size=1, max_size=4
    ),
    delta=st.sampled_from([1e-9, 1e-6, 1e-5, 1e-4]),
)
def test_the_figure_is_never_below_a_privacy_loss_distribution(
    events: list[GaussianEvent], delta: float
) -> None:
    loss: Any = importlib.import_module("dp_accounting.pld.privacy_loss_distribution")
    mu = math.sqrt(sum(event.count / event.noise_multiplier**2 for event in events))
    optimistic: Any = loss.from_gaussian_mechanism(
        1.0 / mu, pessimistic_estimate=False, value_discretization_interval=1e-3
    )
    bound = float(optimistic.get_epsilon_for_delta(delta))
    assert bound <= epsilon(events, delta).epsilon <= 1.25 * bound + 0.01


def test_a_known_figure() -> None:
    # z = 1, delta = 1e-5: 4.377 exactly (analytic Gaussian), 4.728 by RDP in the literature.
    claim = epsilon([GaussianEvent(1.0)], 1e-5)
    assert claim.epsilon == pytest.approx(4.729, abs=0.002)
    assert exact_delta([GaussianEvent(1.0)], 4.377) == pytest.approx(1e-5, rel=5e-3)
    # Ten campaigns compose to far less than ten times one.
    assert epsilon([GaussianEvent(4.0, 10)], 1e-6).epsilon < 0.5 * (
        10 * epsilon([GaussianEvent(4.0)], 1e-6).epsilon
    )


def test_a_claim_says_everything_beside_its_figure() -> None:
    claim = epsilon([GaussianEvent(2.0, 3), GaussianEvent(5.0)], 1e-6)
    document = claim.to_json()
    assert document == {
        "epsilon": repr(claim.epsilon),
        "target_delta": "1e-06",
        "accountant": "opacus-rdp",
        "accountant_version": importlib.import_module("opacus").__version__,
        "cross_check_epsilon": repr(claim.cross_check.epsilon),
        "cross_check_accountant": "dp-accounting-rdp",
        "cross_check_accountant_version": claim.cross_check.accountant_version,
        "unit": "user",
        "neighboring_relation": "add_remove",
        "participation": "full",
        "sampling": "none",
    }
    assert claim.epsilon == round(claim.epsilon, 6)
    assert claim.epsilon >= claim.cross_check.epsilon - 1e-9


def test_order_and_grouping_of_events_do_not_matter() -> None:
    events = [GaussianEvent(2.0, 2), GaussianEvent(3.0), GaussianEvent(7.0, 5)]
    split = [GaussianEvent(7.0, 3), GaussianEvent(2.0), GaussianEvent(3.0)]
    split += [GaussianEvent(2.0), GaussianEvent(7.0, 2)]
    assert epsilon(events, 1e-6).epsilon == epsilon(split, 1e-6).epsilon


def test_no_events_cost_nothing() -> None:
    assert epsilon([], 1e-6).epsilon == 0.0
    assert epsilon_rdp([], 1e-6) == 0.0


def test_disagreement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_agreement(8.0, 8.0 + 7e-6)
    require_agreement(0.0, 0.0)
    for first, second in [(8.0, 8.0 + 9e-6), (8.0, 4.0), (math.nan, 8.0), (8.0, math.nan)]:
        with pytest.raises(AccountantsDisagree):
            require_agreement(first, second)

    def halved(events: list[GaussianEvent], target_delta: float) -> float:
        return epsilon_dp_accounting(events, target_delta) / 2

    monkeypatch.setattr(accounting, "epsilon_dp_accounting", halved)
    with pytest.raises(AccountantsDisagree):
        epsilon([GaussianEvent(1.0)], 1e-6)


@pytest.mark.parametrize("bad", [*BAD_REALS, 1.0, 1.5])
def test_delta_is_validated(bad: float) -> None:
    for path in (epsilon_opacus, epsilon_dp_accounting, epsilon_rdp):
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


@settings(max_examples=300, deadline=None)
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
    assert target - 1.1e-6 < epsilon_rdp(events, delta) <= target
    for z, share in zip(multipliers, shares, strict=True):
        assert z**2 * share == pytest.approx(multipliers[0] ** 2 * shares[0], rel=1e-9)


@pytest.mark.parametrize("target", [0.1, 1.0, 3.3, 8.0, 8.25])
def test_the_reported_figure_of_a_calibrated_plan_is_the_target(target: float) -> None:
    events = [GaussianEvent(z) for z in calibrate(target, 1e-6, [0.1, 0.3, 0.3, 0.3])]
    assert epsilon(events, 1e-6).epsilon == target


def test_unspent_shares_stay_unspent() -> None:
    half = [GaussianEvent(z) for z in calibrate(8.0, 1e-6, [0.25, 0.25])]
    assert epsilon_rdp(half, 1e-6) < 6.0
    whole = [*half, *(GaussianEvent(z) for z in calibrate(8.0, 1e-6, [0.5]))]
    assert epsilon_rdp(whole, 1e-6) == pytest.approx(8.0, abs=1e-6)


@pytest.mark.parametrize("bad", [*BAD_REALS, 1e-9])
def test_the_target_is_validated(bad: float) -> None:
    with pytest.raises(BadParameter):
        calibrate(bad, 1e-6, [1.0])


@pytest.mark.parametrize("shares", [[], [0.5, 0.6], [1.1], *[[0.1, bad] for bad in BAD_REALS]])
def test_shares_are_validated(shares: list[float]) -> None:
    with pytest.raises(BadParameter, match="share"):
        calibrate(1.0, 1e-6, shares)


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
    tree = ast.parse(Path(accounting.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "RDPAccountant" in imported
    assert not any(
        "gaussianaccountant" in name.lower() or "gdp" in name.lower() for name in imported
    )
    assert epsilon([GaussianEvent(1.0)], 1e-6).accountant == "opacus-rdp"


def test_a_device_can_account_without_the_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from tacit.privacy import accounting, budget, discrete_gaussian, quantize\n"
        "z, = accounting.calibrate(1.0, 1e-6, [1.0])\n"
        "print(accounting.epsilon_rdp([accounting.GaussianEvent(z)], 1e-6))\n"
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
