"""Bound epsilon by Renyi divergences, in plain numpy: light enough for a device, valid at any z.

At order alpha the Renyi divergence of one discrete Gaussian release is at most
``alpha / (2 z^2)`` (Canonne, Kamath, Steinke 2020, arXiv:2004.00010, Theorem 4: the continuous
Gaussian's bound holds for the discrete one at every sigma). Orders add up under adaptive
composition, and

    epsilon = min over alpha of  rdp(alpha) + log(1 - 1/alpha) - log(delta alpha) / (alpha - 1)

(the same paper, Proposition 12; Balle et al. 2020, arXiv:1905.09982, Theorem 21).
"""

from collections.abc import Sequence

import numpy as np

from tacit.privacy._parameters import open_unit
from tacit.privacy.accounting_sums import GaussianSums
from tacit.privacy.gaussian_event import GaussianEvent

ORDERS: tuple[float, ...] = (
    *(1.0 + step / 100.0 for step in range(2, 10)),
    *(1.0 + step / 10.0 for step in range(1, 100)),
    *(float(order) for order in range(11, 64)),
    *(float(round(64 * 1.05**step)) for step in range(152)),
)
"""Renyi orders: Opacus' own, extended down to 1.02 and in steps of 5% up to about 10^5."""


def epsilon_rdp(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return the least epsilon over `ORDERS`, not rounded.

    Guarantee: ``(epsilon, target_delta)``-DP under add/remove of one user who may be in every
    release, for discrete Gaussian noise of parameter at least ``z L``, at any L.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    delta = open_unit("target_delta", target_delta)
    return rdp_of_sums(GaussianSums.of(events), delta)


def rdp_of_sums(sums: GaussianSums, target_delta: float) -> float:
    """Return `epsilon_rdp` of a composition known by its sums; `target_delta` is in (0, 1)."""
    if not sums.releases:
        return 0.0
    orders = np.array(ORDERS)
    conversion = np.log1p(-1.0 / orders) - np.log(target_delta * orders) / (orders - 1.0)
    return max(0.0, float(np.min(orders * (sums.inverse_squares / 2.0) + conversion)))
