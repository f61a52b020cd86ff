"""Account for Gaussian releases some of which were Poisson-sampled, by Opacus and dp-accounting.

For integer orders the Renyi divergence of the sampled Gaussian is a binomial sum of moments
`E_P[(P_shifted / P)^j] <= exp(j (j - 1) / 2 z^2)` (Mironov, Talwar, Zhang 2019, arXiv:1908.10530,
section 3.3). The discrete Gaussian obeys the same bound for integer shifts (Canonne, Kamath,
Steinke 2020, Theorem 4), so the figure holds for the noise that is really added; fractional orders,
whose formula is of the continuous Gaussian, are not used.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from tacit.privacy.accounting import round_up
from tacit.privacy.errors import AccountantsDisagree
from tacit.simulations.errors import BadExperiment

ORDERS = (*range(2, 65), *range(68, 129, 4), *range(144, 513, 16))

_LARGEST_MULTIPLIER = 150.0  # the grid of 10^5 coordinates leaves room for no more
_STEPS = 40
_AGREEMENT = 1e-6


@dataclass(frozen=True, slots=True)
class SampledRelease:
    """Describe releases of one kind.

    Attributes:
        noise_multiplier: z.
        rate: probability with which each user is in; 1 for full participation.
        count: how many.
    """

    noise_multiplier: float
    rate: float
    count: int


@dataclass(frozen=True, slots=True)
class SampledClaim:
    """Hold what was spent.

    Attributes:
        epsilon: Opacus' RDP figure, rounded up; the one to report.
        epsilon_prv: Opacus' PRV figure (upper end of its error), for comparison.
        accountant: name and version, with the cross-check.
    """

    epsilon: float
    epsilon_prv: float
    accountant: str


def account(releases: Sequence[SampledRelease], delta: float) -> SampledClaim:
    """Compose releases by three accountants; the two RDP ones must agree.

    Raises:
        AccountantsDisagree: Opacus and dp-accounting differ by more than 1e-6 relative.
    """
    import dp_accounting  # pyright: ignore[reportMissingTypeStubs]
    from dp_accounting.rdp import RdpAccountant  # pyright: ignore[reportMissingTypeStubs]
    from opacus.accountants import PRVAccountant  # pyright: ignore[reportMissingTypeStubs]

    reported = opacus_epsilon(releases, delta)
    library: Any = dp_accounting
    other: Any = RdpAccountant(ORDERS, library.NeighboringRelation.ADD_OR_REMOVE_ONE)
    for release in releases:
        event = library.GaussianDpEvent(release.noise_multiplier)
        if release.rate < 1.0:
            event = library.PoissonSampledDpEvent(release.rate, event)
        other.compose(event, release.count)
    _require_agreement(reported, float(other.get_epsilon(delta)))
    prv: Any = PRVAccountant()
    prv.history = [(r.noise_multiplier, r.rate, r.count) for r in releases]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tight = float(prv.get_epsilon(delta=delta))
    name = f"opacus-rdp {version('opacus')}, cross-checked by dp-accounting-rdp "
    return SampledClaim(round_up(reported), tight, name + version("dp-accounting"))


def opacus_epsilon(releases: Sequence[SampledRelease], delta: float) -> float:
    """Return Opacus' RDP figure at integer orders, not rounded."""
    from opacus.accountants import RDPAccountant  # pyright: ignore[reportMissingTypeStubs]

    accountant: Any = RDPAccountant()
    accountant.history = [(r.noise_multiplier, r.rate, r.count) for r in releases]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        return float(accountant.get_epsilon(delta=delta, alphas=list(ORDERS)))


def calibrate_sampled(
    epsilon: float, delta: float, paid: Sequence[SampledRelease], rate: float, count: int
) -> float:
    """Find the smallest noise multiplier of `count` sampled releases that keeps to a budget.

    Args:
        epsilon: total budget.
        delta: of the total.
        paid: releases already made from the same budget.
        rate: sampling rate of the further ones.
        count: how many.

    Raises:
        BadExperiment: what is paid already leaves nothing to spend.
    """

    def spends(multiplier: float) -> float:
        return opacus_epsilon([*paid, SampledRelease(multiplier, rate, count)], delta)

    low, high = math.log(0.3), math.log(_LARGEST_MULTIPLIER)
    target = epsilon - 2e-6
    if spends(_LARGEST_MULTIPLIER) > target:
        raise BadExperiment(
            f"expected an epsilon that {count} sampled rounds can spend, got {epsilon:g}; "
            "ask for a larger one"
        )
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        if spends(math.exp(middle)) > target:
            low = middle
        else:
            high = middle
    return math.exp(high)


def _require_agreement(first: float, second: float) -> None:
    """Raise unless two figures agree to 1e-6 relative (below 0.001: to 1e-9 absolute)."""
    if not abs(first - second) <= _AGREEMENT * max(first, second, 1e-3):
        raise AccountantsDisagree(f"accountants disagree: epsilon {first!r} against {second!r}")
