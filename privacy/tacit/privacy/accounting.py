"""Turn a list of paid events into one (epsilon, delta) claim that two accountants agree on.

An event is one release of a sum of contributions with discrete Gaussian noise ``sigma = z * L`` on
every coordinate, L being the l2 sensitivity of the integer sum under add/remove of one user. At
order alpha its Renyi divergence is at most ``alpha / (2 z^2)`` (Canonne, Kamath, Steinke 2020,
arXiv:2004.00010, Theorem 4: the continuous Gaussian's bound holds for the discrete one). Orders add
up under adaptive composition, and

    epsilon = min over alpha of  rdp(alpha) + log(1 - 1/alpha) - log(delta alpha) / (alpha - 1)

(the same paper, Proposition 12; Balle et al. 2020, arXiv:1905.09982, Theorem 21).

Participation is full: every user is assumed present in every event and no amplification by sampling
is claimed. Three paths compute the formula on the same `ORDERS`: Opacus (the figure reported),
dp-accounting (the cross-check) and `epsilon_rdp` (numpy only, for devices and for calibration).
What is stored is always events, never sums of epsilon.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.privacy._parameters import open_unit, positive_real
from tacit.privacy.errors import AccountantsDisagree, BadParameter
from tacit.privacy.gaussian_event import GaussianEvent

__all__ = [
    "ORDERS",
    "CrossCheck",
    "EpsilonClaim",
    "GaussianEvent",
    "calibrate",
    "epsilon",
    "epsilon_dp_accounting",
    "epsilon_opacus",
    "epsilon_rdp",
    "require_agreement",
]

ORDERS: tuple[float, ...] = (
    *(1.0 + step / 100.0 for step in range(2, 10)),
    *(1.0 + step / 10.0 for step in range(1, 100)),
    *(float(order) for order in range(11, 64)),
    *(float(round(64 * 1.05**step)) for step in range(152)),
)
"""Renyi orders: Opacus' own, extended down to 1.02 and in steps of 5% up to about 10^5."""

_AGREEMENT = 1e-6
_RESOLUTION = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What the second accountant found for the same events.

    Attributes:
        epsilon: Its figure, not rounded.
        accountant: Its name.
        accountant_version: Version of the library.
    """

    epsilon: float
    accountant: str
    accountant_version: str


@dataclass(frozen=True, slots=True)
class EpsilonClaim:
    """An (epsilon, delta) figure with all that must be said beside it.

    Attributes:
        epsilon: Opacus' RDP figure, rounded up to 6 decimals.
        target_delta: delta the figure holds at.
        accountant: Accountant that gave `epsilon`.
        accountant_version: Version of the library.
        cross_check: The second accountant's figure, within 1e-6 relative.
        unit: Whose participation is protected.
        neighboring_relation: What neighbouring data sets differ by.
        participation: "full": every user may be in every event.
        sampling: "none": no amplification is claimed.
    """

    epsilon: float
    target_delta: float
    accountant: str
    accountant_version: str
    cross_check: CrossCheck
    unit: str = "user"
    neighboring_relation: str = "add_remove"
    participation: str = "full"
    sampling: str = "none"

    def to_json(self) -> dict[str, str]:
        """Return the claim as canonical JSON fields; reals are their shortest exact decimals."""
        return {
            "epsilon": repr(self.epsilon),
            "target_delta": repr(self.target_delta),
            "accountant": self.accountant,
            "accountant_version": self.accountant_version,
            "cross_check_epsilon": repr(self.cross_check.epsilon),
            "cross_check_accountant": self.cross_check.accountant,
            "cross_check_accountant_version": self.cross_check.accountant_version,
            "unit": self.unit,
            "neighboring_relation": self.neighboring_relation,
            "participation": self.participation,
            "sampling": self.sampling,
        }


def epsilon(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
    """Compose events and convert to epsilon at `target_delta`, by two independent accountants.

    Guarantee: the composition of the events is ``(claim.epsilon, target_delta)``-DP for one user's
    whole participation under add/remove, assuming exact noise and the l2 bound on contributions.
    No events cost nothing.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
        AccountantsDisagree: The figures differ by more than 1e-6 relative.
    """
    reported = epsilon_opacus(events, target_delta)
    checked = epsilon_dp_accounting(events, target_delta)
    require_agreement(reported, checked)
    return EpsilonClaim(
        epsilon=round_up(reported),
        target_delta=float(target_delta),
        accountant="opacus-rdp",
        accountant_version=version("opacus"),
        cross_check=CrossCheck(checked, "dp-accounting-rdp", version("dp-accounting")),
    )


def round_up(epsilon: float) -> float:
    """Round a figure up to the 6 decimals in which claims are stated."""
    return float(Decimal(epsilon).quantize(_RESOLUTION, rounding=ROUND_CEILING))


def require_agreement(first: float, second: float) -> None:
    """Raise unless two figures agree to 1e-6 relative (below 0.001: to 1e-9 absolute).

    Raises:
        AccountantsDisagree: They differ by more, or one of them is NaN.
    """
    if not abs(first - second) <= _AGREEMENT * max(first, second, 1e-3):
        raise AccountantsDisagree(f"accountants disagree: epsilon {first!r} against {second!r}")


def epsilon_opacus(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return Opacus' RDP figure, not rounded. Imports torch, which takes seconds.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    from opacus.accountants import RDPAccountant  # pyright: ignore[reportMissingTypeStubs]

    delta = open_unit("target_delta", target_delta)
    accountant: Any = RDPAccountant()
    accountant.history = [(event.noise_multiplier, 1.0, event.count) for event in events]
    with warnings.catch_warnings():
        # The optimum at an end of the grid means a looser figure, never a wrong one.
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        return max(0.0, float(accountant.get_epsilon(delta=delta, alphas=list(ORDERS))))


def epsilon_dp_accounting(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return dp-accounting's RDP figure, not rounded.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    import dp_accounting  # pyright: ignore[reportMissingTypeStubs]
    from dp_accounting.rdp import RdpAccountant  # pyright: ignore[reportMissingTypeStubs]

    delta = open_unit("target_delta", target_delta)
    library: Any = dp_accounting
    accountant: Any = RdpAccountant(ORDERS, library.NeighboringRelation.ADD_OR_REMOVE_ONE)
    for event in events:
        accountant.compose(library.GaussianDpEvent(event.noise_multiplier), event.count)
    return float(accountant.get_epsilon(delta))


def epsilon_rdp(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return the formula of the module in plain numpy, not rounded: light enough for a device.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    delta = open_unit("target_delta", target_delta)
    if not events:
        return 0.0
    rho = math.fsum(event.count / (2.0 * event.noise_multiplier**2) for event in events)
    return max(0.0, float(np.min(np.array(ORDERS) * rho + _conversion(delta))))


def calibrate(epsilon: float, target_delta: float, shares: Sequence[float]) -> tuple[float, ...]:
    """Return noise multipliers that spend `epsilon` over releases with the given budget shares.

    With rho the largest zCDP total whose reported epsilon does not exceed `epsilon` (to within
    1e-9), release i gets ``z_i = sqrt(1 / (2 rho share_i))`` and so spends ``rho share_i``
    (Bun, Steinke 2016, arXiv:1605.02065, Proposition 1.6 and Lemma 1.7).

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
    reportable = float(Decimal(repr(total)).quantize(_RESOLUTION, rounding=ROUND_FLOOR)) - 1e-9
    rho = float(np.max((reportable - _conversion(delta)) / np.array(ORDERS)))
    if reportable <= 0.0 or rho <= 0.0:
        raise BadParameter(f"epsilon {total!r} at delta {delta!r} is below what can be accounted")
    spread = rho / max(1.0, math.fsum(parts))
    return tuple(
        GaussianEvent(math.sqrt(1.0 / (2.0 * spread * part))).noise_multiplier for part in parts
    )


def _conversion(delta: float) -> npt.NDArray[np.float64]:
    """Return what each of `ORDERS` adds to its Renyi divergence in the conversion to epsilon."""
    orders = np.array(ORDERS)
    return np.log1p(-1.0 / orders) - np.log(delta * orders) / (orders - 1.0)
