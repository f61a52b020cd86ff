"""Turn a list of paid events into one (epsilon, delta) claim that independent accountants confirm.

An event is one release of a sum of contributions with discrete Gaussian noise ``sigma = z * L`` on
every coordinate, L being the l2 sensitivity of the integer sum under add/remove of one user; at
level `local` one release of a device's own noised contribution, L then being twice the norm.
Participation is full: every user is assumed present in every event and no amplification by sampling
is claimed. What is stored is always events, never sums of epsilon.

The figure claimed is the certified closed form of `accounting_closed_form` (or the Renyi bound of
`accounting_rdp` where that is lower, which only very large epsilons see). Two libraries compute the
same events on other paths, and a claim exists only when they confirm it (`require_confirmed`).
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal
from importlib.metadata import version

from tacit.privacy._parameters import open_unit, positive_integer, positive_real
from tacit.privacy.accounting_claim import (
    RESOLUTION,
    CrossCheck,
    EpsilonClaim,
    require_confirmed,
    round_down,
    round_up,
)
from tacit.privacy.accounting_closed_form import (
    LATTICE,
    epsilon_lower,
    largest_mu,
    lower_of_sums,
    upper_of_sums,
)
from tacit.privacy.accounting_interface import DpAccountingPld, OpacusPrv, OpacusRdp
from tacit.privacy.accounting_libraries import (
    PLD_LARGEST_EPSILON,
    epsilon_dp_accounting,
    epsilon_dp_accounting_pld,
    epsilon_opacus,
)
from tacit.privacy.accounting_modes import (
    PoissonEvent,
    locally_noised,
    participation_bounded,
)
from tacit.privacy.accounting_rdp import ORDERS, epsilon_rdp, rdp_of_sums
from tacit.privacy.accounting_sums import GaussianSums, RunningComposition
from tacit.privacy.errors import BadParameter
from tacit.privacy.gaussian_event import GaussianEvent
from tacit.privacy.trust import level_and_relation

__all__ = [
    "ACCOUNTANT",
    "ACCOUNTANT_VERSION",
    "ORDERS",
    "CrossCheck",
    "EpsilonClaim",
    "GaussianEvent",
    "GaussianSums",
    "PoissonEvent",
    "RunningComposition",
    "calibrate",
    "epsilon",
    "epsilon_bound",
    "epsilon_bound_of_sums",
    "epsilon_dp_accounting",
    "epsilon_dp_accounting_pld",
    "epsilon_local",
    "epsilon_lower",
    "epsilon_opacus",
    "epsilon_participation_bounded",
    "epsilon_poisson",
    "epsilon_rdp",
    "epsilon_without_opacus",
    "lower_of_sums",
    "require_confirmed",
    "round_up",
]

_MAX_EPSILON = 1e12
"""More than any events within the range of `GaussianEvent` can compose to."""

ACCOUNTANT = "tacit-gaussian"
ACCOUNTANT_VERSION = "1"
"""Raised whenever the same events could give another figure; the ledger recomputes by version."""


def epsilon(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
    """Compose events and convert to epsilon at `target_delta`, confirmed by two libraries.

    Guarantee: the composition of the events is ``(claim.epsilon, target_delta)``-DP for one user's
    whole participation under add/remove, assuming exact noise, contributions within their l2 bound
    L and L at least 1,024. Where events are of level `local`, level and neighbours of the claim are
    those of `tacit.privacy.trust.level_and_relation`. No events cost nothing. Imports torch, which
    takes seconds.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
        AccountantsDisagree: A library contradicts the figure.
    """
    opacus = CrossCheck(epsilon_opacus(events, target_delta), "opacus-rdp", version("opacus"))
    return _claim(events, target_delta, opacus)


def epsilon_without_opacus(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
    """Compose events as `epsilon` does, confirmed by dp-accounting's two accountants alone.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
        AccountantsDisagree: The library contradicts the figure.
    """
    return _claim(events, target_delta, _dp_accounting_rdp(events, target_delta))


def epsilon_participation_bounded(
    events: Sequence[GaussianEvent], bound: int, target_delta: float
) -> EpsilonClaim:
    """Claim for users who are in at most `bound` of the releases, whichever those are.

    Guarantee: that of `epsilon`, if every device does enforce the bound (`participation_bounded`).

    Raises:
        BadParameter: `bound` is no positive integer, or `target_delta` is not in (0, 1).
        AccountantsDisagree: A library contradicts the figure.
    """
    claim = epsilon(participation_bounded(events, bound), target_delta)
    return replace(claim, participation=f"bounded:{int(bound)}")


def epsilon_local(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
    """Claim against everyone, for noise that each device adds to its own contribution.

    Contributions are replaced, not added, so the sensitivity is 2C; noise multipliers of events
    that do not say they are of level `local` are stated against C.

    Raises:
        BadParameter: Half of a noise multiplier or `target_delta` is out of range.
        AccountantsDisagree: A library contradicts the figure.
    """
    claim = epsilon(locally_noised(events), target_delta)
    return replace(claim, trust_level="local", neighboring_relation="replace")


def epsilon_poisson(events: Sequence[PoissonEvent], target_delta: float) -> EpsilonClaim:
    """Claim for cohorts drawn by independent coins: dp-accounting's PLD, confirmed by Opacus' PRV.

    Guarantee: that of `epsilon`, if the draw really is Poisson with the stated probability and no
    user or server can steer it. Never claim it for cohorts that are whoever came. Takes seconds.

    Raises:
        BadParameter: `target_delta` is not in (0, 1), or noise is too small.
        AccountantsDisagree: The libraries do not confirm each other.
    """
    pld, prv, rdp = DpAccountingPld(), OpacusPrv(), OpacusRdp()
    found = pld.bounds(events, target_delta)
    numerical, renyi = prv.bounds(events, target_delta), rdp.bounds(events, target_delta)
    checks = (
        CrossCheck(numerical.upper, prv.name, prv.version, numerical.lower),
        CrossCheck(renyi.upper, rdp.name, rdp.version),
    )
    require_confirmed(found.upper, *checks)
    return EpsilonClaim(
        epsilon=round_up(found.upper),
        target_delta=float(target_delta),
        accountant=pld.name,
        accountant_version=pld.version,
        cross_checks=checks,
        epsilon_lower=round_down(max(found.lower, numerical.lower)),
        participation="poisson",
        sampling="poisson",
    )


def epsilon_bound(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return the figure that `epsilon` claims, not rounded and without asking any library.

    Devices account with it for themselves. The guarantee is that of `epsilon`.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    return epsilon_bound_of_sums(GaussianSums.of(events), target_delta)


def epsilon_bound_of_sums(sums: GaussianSums, target_delta: float) -> float:
    """Return `epsilon_bound` of a composition known by its sums.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    delta = open_unit("target_delta", target_delta)
    return min(upper_of_sums(sums, delta), rdp_of_sums(sums, delta))


def libraries_installed() -> tuple[bool, bool]:
    """Say whether Opacus, and whether dp-accounting, is installed; imports neither."""
    found = (importlib.util.find_spec(name) is not None for name in ("opacus", "dp_accounting"))
    return next(found), next(found)


def _claim(events: Sequence[GaussianEvent], target_delta: float, renyi: CrossCheck) -> EpsilonClaim:
    figure = epsilon_bound(events, target_delta)
    if figure <= PLD_LARGEST_EPSILON:
        low, high = epsilon_dp_accounting_pld(events, target_delta)
        nearest = CrossCheck(high, "dp-accounting-pld", version("dp-accounting"), low)
    else:
        nearest = _dp_accounting_rdp(events, target_delta)
    require_confirmed(figure, nearest, renyi)
    level, relation = level_and_relation(event.trust_level for event in events)
    return EpsilonClaim(
        epsilon=round_up(figure),
        target_delta=float(target_delta),
        accountant=ACCOUNTANT,
        accountant_version=ACCOUNTANT_VERSION,
        cross_checks=(nearest, renyi),
        epsilon_lower=round_down(epsilon_lower(events, target_delta)),
        neighboring_relation=relation,
        trust_level=level,
    )


def _dp_accounting_rdp(events: Sequence[GaussianEvent], target_delta: float) -> CrossCheck:
    figure = epsilon_dp_accounting(events, target_delta)
    return CrossCheck(figure, "dp-accounting-rdp", version("dp-accounting"))


def calibrate(
    epsilon: float,
    target_delta: float,
    shares: Sequence[float],
    *,
    n_users: int | None = None,
) -> tuple[float, ...]:
    """Return noise multipliers that spend `epsilon` over releases with the given budget shares.

    With mu the largest whose reported epsilon does not exceed `epsilon`, release i gets
    ``z_i^2 = 1 / (mu^2 share_i)`` plus what the lattice takes, and so spends ``share_i`` of mu^2,
    the quantity that adds up under composition (see `accounting_closed_form`).

    Args:
        epsilon: Total to spend, from 1e-6 to 1e12.
        target_delta: delta of the total.
        shares: Positive shares of the budget, summing to at most 1.
        n_users: Size of the population, if known: delta must then be below one over it.

    Raises:
        BadParameter: An argument is out of range, delta is not below 1 / n_users, the shares
            exceed 1, or the noise needed is outside what `GaussianEvent` accepts.
    """
    total = positive_real("epsilon", epsilon, maximum=_MAX_EPSILON)
    delta = open_unit("target_delta", target_delta)
    if n_users is not None and delta * positive_integer("n_users", n_users) >= 1.0:
        raise BadParameter(f"target_delta: expected below 1/{n_users}, got {delta!r}")
    parts = [positive_real("share", share) for share in shares]
    if not parts or math.fsum(parts) > 1.0 + 1e-9:
        raise BadParameter(f"shares: expected a sum in (0, 1], got {math.fsum(parts)!r}")
    # A little under, so that recomputing mu from the rounded multipliers never tips over.
    reportable = _round_down_decimal(total) * (1.0 - 1e-12) - 1e-9
    if reportable <= 0.0:
        raise BadParameter(f"epsilon {total!r} at delta {delta!r} is below what can be accounted")
    mu = largest_mu(reportable, delta, len(parts))
    spread = mu**2 / max(1.0, math.fsum(parts))
    # Checked before the lattice is added, which alone would lift any z above the least.
    plain = [GaussianEvent(math.sqrt(1.0 / (spread * part))).noise_multiplier for part in parts]
    return tuple(GaussianEvent(math.sqrt(z**2 + LATTICE)).noise_multiplier for z in plain)


def _round_down_decimal(epsilon: float) -> float:
    """Round down to 6 decimals by the digits a person wrote: 8.3 stays 8.3."""
    return float(Decimal(repr(epsilon)).quantize(RESOLUTION, rounding=ROUND_FLOOR))
