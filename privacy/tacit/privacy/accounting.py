"""Turn a list of paid events into one (epsilon, delta) claim that independent accountants confirm.

An event is one release of a sum of contributions with discrete Gaussian noise ``sigma = z * L`` on
every coordinate, L being the l2 sensitivity of the integer sum under add/remove of one user.
Participation is full: every user is assumed present in every event and no amplification by sampling
is claimed. What is stored is always events, never sums of epsilon.

The figure claimed is the certified closed form of `accounting_closed_form` (or the Renyi bound of
`accounting_rdp` where that is lower, which only very large epsilons see). Two libraries compute the
same events on other paths, and a claim exists only when they confirm it (`require_confirmed`).
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from importlib.metadata import version

from tacit.privacy._parameters import open_unit, positive_real
from tacit.privacy.accounting_closed_form import LATTICE, epsilon_lower, epsilon_upper, largest_mu
from tacit.privacy.accounting_libraries import (
    PLD_LARGEST_EPSILON,
    epsilon_dp_accounting,
    epsilon_dp_accounting_pld,
    epsilon_opacus,
)
from tacit.privacy.accounting_rdp import ORDERS, epsilon_rdp
from tacit.privacy.errors import AccountantsDisagree, BadParameter
from tacit.privacy.gaussian_event import GaussianEvent

__all__ = [
    "ACCOUNTANT",
    "ACCOUNTANT_VERSION",
    "ORDERS",
    "CrossCheck",
    "EpsilonClaim",
    "GaussianEvent",
    "calibrate",
    "epsilon",
    "epsilon_bound",
    "epsilon_dp_accounting",
    "epsilon_dp_accounting_pld",
    "epsilon_lower",
    "epsilon_opacus",
    "epsilon_rdp",
    "epsilon_without_opacus",
    "require_confirmed",
    "round_up",
]

ACCOUNTANT = "tacit-gaussian"
ACCOUNTANT_VERSION = "1"
"""Raised whenever the same events could give another figure; the ledger recomputes by version."""

_RESOLUTION = Decimal("0.000001")
_PLD_TOLERANCE = 2e-3
_RDP_LARGEST_EXCESS = 0.6
_RDP_LARGEST_EXCESS_ABSOLUTE = 0.3


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What another accountant found for the same events.

    Attributes:
        epsilon: Its figure, an upper bound, not rounded.
        accountant: Its name.
        accountant_version: Version of the library.
        epsilon_lower: Its certified lower bound, where it gives one.
    """

    epsilon: float
    accountant: str
    accountant_version: str
    epsilon_lower: float = 0.0


@dataclass(frozen=True, slots=True)
class EpsilonClaim:
    """An (epsilon, delta) figure with all that must be said beside it.

    Attributes:
        epsilon: The certified upper bound, rounded up to 6 decimals.
        target_delta: delta the figure holds at.
        accountant: Accountant that gave `epsilon`.
        accountant_version: Its version.
        cross_checks: Other accountants' figures, which confirm it; never empty.
        epsilon_lower: Certified lower bound, rounded down to 6 decimals: no correct analysis of
            these events can give less.
        unit: Whose participation is protected.
        neighboring_relation: What neighbouring data sets differ by.
        participation: "full": every user may be in every event.
        sampling: "none": no amplification is claimed.
    """

    epsilon: float
    target_delta: float
    accountant: str
    accountant_version: str
    cross_checks: tuple[CrossCheck, ...]
    epsilon_lower: float = 0.0
    unit: str = "user"
    neighboring_relation: str = "add_remove"
    participation: str = "full"
    sampling: str = "none"

    @property
    def cross_check(self) -> CrossCheck:
        """Return the first cross-check, the closest one."""
        return self.cross_checks[0]

    def to_json(self) -> dict[str, str | list[dict[str, str]]]:
        """Return the claim as canonical JSON fields; reals are their shortest exact decimals."""
        return {
            "epsilon": repr(self.epsilon),
            "epsilon_lower": repr(self.epsilon_lower),
            "target_delta": repr(self.target_delta),
            "accountant": self.accountant,
            "accountant_version": self.accountant_version,
            "cross_checks": [
                {
                    "epsilon": repr(check.epsilon),
                    "epsilon_lower": repr(check.epsilon_lower),
                    "accountant": check.accountant,
                    "accountant_version": check.accountant_version,
                }
                for check in self.cross_checks
            ],
            "unit": self.unit,
            "neighboring_relation": self.neighboring_relation,
            "participation": self.participation,
            "sampling": self.sampling,
        }


def epsilon(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
    """Compose events and convert to epsilon at `target_delta`, confirmed by two libraries.

    Guarantee: the composition of the events is ``(claim.epsilon, target_delta)``-DP for one user's
    whole participation under add/remove, assuming exact noise, contributions within their l2 bound
    L and L at least 1,024. No events cost nothing. Imports torch, which takes seconds.

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


def epsilon_bound(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return the figure that `epsilon` claims, not rounded and without asking any library.

    Devices account with it for themselves. The guarantee is that of `epsilon`.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    return min(epsilon_upper(events, target_delta), epsilon_rdp(events, target_delta))


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
    return EpsilonClaim(
        epsilon=round_up(figure),
        target_delta=float(target_delta),
        accountant=ACCOUNTANT,
        accountant_version=ACCOUNTANT_VERSION,
        cross_checks=(nearest, renyi),
        epsilon_lower=_round_down(epsilon_lower(events, target_delta)),
    )


def _dp_accounting_rdp(events: Sequence[GaussianEvent], target_delta: float) -> CrossCheck:
    figure = epsilon_dp_accounting(events, target_delta)
    return CrossCheck(figure, "dp-accounting-rdp", version("dp-accounting"))


def require_confirmed(figure: float, *checks: CrossCheck) -> None:
    """Raise unless every check allows `figure` as the tight bound for the same events.

    A figure must not fall below a check's certified lower bound, nor exceed its upper bound by
    more than the lattice costs; and the upper bounds must be as close as their method allows: 0.2%
    for a privacy-loss distribution, 60% for Renyi accounting (so that half the truth, or twice
    it, is never confirmed).

    Raises:
        AccountantsDisagree: One does not, or a figure is NaN.
    """
    for check in checks:
        pld = check.accountant.endswith("-pld")
        share = _PLD_TOLERANCE if pld else _RDP_LARGEST_EXCESS
        above = share * figure + (_PLD_TOLERANCE if pld else _RDP_LARGEST_EXCESS_ABSOLUTE)
        below = _PLD_TOLERANCE * check.epsilon + 1e-9 if pld else 1e-9 * check.epsilon
        within = check.epsilon - above <= figure <= check.epsilon + below
        if not (within and figure >= check.epsilon_lower):
            raise AccountantsDisagree(
                f"accountants disagree: {ACCOUNTANT} {ACCOUNTANT_VERSION} gives epsilon "
                f"{figure!r}, {check.accountant} {check.accountant_version} gives "
                f"{check.epsilon!r} (at least {check.epsilon_lower!r})"
            )


def round_up(epsilon: float) -> float:
    """Round a figure up to the 6 decimals in which claims are stated."""
    return float(Decimal(epsilon).quantize(_RESOLUTION, rounding=ROUND_CEILING))


def _round_down(epsilon: float) -> float:
    """Round a lower bound down to the 6 decimals in which claims are stated."""
    return float(Decimal(epsilon).quantize(_RESOLUTION, rounding=ROUND_FLOOR))


def calibrate(epsilon: float, target_delta: float, shares: Sequence[float]) -> tuple[float, ...]:
    """Return noise multipliers that spend `epsilon` over releases with the given budget shares.

    With mu the largest whose reported epsilon does not exceed `epsilon`, release i gets
    ``z_i^2 = 1 / (mu^2 share_i)`` plus what the lattice takes, and so spends ``share_i`` of mu^2,
    the quantity that adds up under composition (see `accounting_closed_form`).

    Args:
        epsilon: Total to spend, at least 1e-6.
        target_delta: delta of the total.
        shares: Positive shares of the budget, summing to at most 1.

    Raises:
        BadParameter: An argument is out of range, the shares exceed 1, or the noise needed is
            outside what `GaussianEvent` accepts.
    """
    total = positive_real("epsilon", epsilon)
    delta = open_unit("target_delta", target_delta)
    parts = [positive_real("share", share) for share in shares]
    if not parts or math.fsum(parts) > 1.0 + 1e-9:
        raise BadParameter(f"shares: expected a sum in (0, 1], got {math.fsum(parts)!r}")
    # A little under, so that recomputing mu from the rounded multipliers never tips over.
    reportable = _round_down_decimal(total) * (1.0 - 1e-12) - 1e-9
    if reportable <= 0.0:
        raise BadParameter(f"epsilon {total!r} at delta {delta!r} is below what can be accounted")
    mu = largest_mu(reportable, delta, len(parts))
    spread = mu**2 / max(1.0, math.fsum(parts))
    return tuple(
        GaussianEvent(math.sqrt(1.0 / (spread * part) + LATTICE)).noise_multiplier for part in parts
    )


def _round_down_decimal(epsilon: float) -> float:
    """Round down to 6 decimals by the digits a person wrote: 8.3 stays 8.3."""
    return float(Decimal(repr(epsilon)).quantize(_RESOLUTION, rounding=ROUND_FLOOR))
