"""Ask Opacus and dp-accounting what the same events cost. Each is imported when it is asked.

`opacus` brings torch and takes seconds to import, so nothing here runs on a device or at the start
of a command. Opacus' Gaussian-DP accountant is a central-limit approximation that falls below the
truth; nothing here calls it.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tacit.privacy._parameters import open_unit
from tacit.privacy.accounting_rdp import ORDERS
from tacit.privacy.gaussian_event import GaussianEvent

__all__ = [
    "PLD_LARGEST_EPSILON",
    "History",
    "dp_accounting_pld",
    "dp_accounting_rdp",
    "epsilon_dp_accounting",
    "epsilon_dp_accounting_pld",
    "epsilon_opacus",
    "opacus_prv",
    "opacus_rdp",
]

PLD_LARGEST_EPSILON = 300.0
"""Above this exponentials of losses overflow in dp-accounting; its RDP is used there."""

_PRV_ERROR = 0.01
# Large orders of a sampled release take the libraries minutes, and those below 2 do not converge.
_SAMPLED_ORDERS = (*(order for order in ORDERS if 2.0 <= order < 64.0), 128.0, 256.0, 512.0)
_POINTS_PER_DEVIATION = 32.0
_SMALLEST_BLOCK = 1.0 / 256.0


History = Sequence[tuple[float, float, int]]
"""(noise multiplier, sampling probability, count) of each kind of release."""


def epsilon_opacus(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return Opacus' RDP figure, not rounded.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    delta = open_unit("target_delta", target_delta)
    return opacus_rdp([(e.noise_multiplier, 1.0, e.count) for e in events], delta)


def epsilon_dp_accounting(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return dp-accounting's RDP figure, not rounded.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    delta = open_unit("target_delta", target_delta)
    return dp_accounting_rdp([(e.noise_multiplier, 1.0, e.count) for e in events], delta)


def opacus_rdp(history: History, delta: float) -> float:
    """Return Opacus' RDP figure of a history that may be sampled."""
    from opacus.accountants import RDPAccountant  # pyright: ignore[reportMissingTypeStubs]

    accountant: Any = RDPAccountant()
    accountant.history = list(history)
    with warnings.catch_warnings():
        # The optimum at an end of the grid means a looser figure, never a wrong one.
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        return max(0.0, float(accountant.get_epsilon(delta=delta, alphas=_orders(history))))


def opacus_prv(history: History, delta: float) -> tuple[float, float]:
    """Return Opacus' PRV (lower, upper) figures, 0.01 around its estimate.

    The numerical accountant of Gopi, Lee, Wutschitz 2021, arXiv:2106.02848, Theorem 5.
    """
    from opacus.accountants import PRVAccountant  # pyright: ignore[reportMissingTypeStubs]

    if not history:  # it crashes on an empty one
        return 0.0, 0.0
    accountant: Any = PRVAccountant()
    accountant.history = list(history)
    delta_error = delta / 1000.0
    with np.errstate(divide="ignore"):  # it takes log(0) where q is 1, and discards it
        composed = accountant._get_dprv(eps_error=_PRV_ERROR, delta_error=delta_error)
    lower, _, upper = composed.compute_epsilon(delta, delta_error, _PRV_ERROR)
    return max(0.0, float(lower)), max(0.0, float(upper))


def dp_accounting_rdp(history: History, delta: float) -> float:
    """Return dp-accounting's RDP figure of a history that may be sampled."""
    import dp_accounting  # pyright: ignore[reportMissingTypeStubs]
    from dp_accounting.rdp import RdpAccountant  # pyright: ignore[reportMissingTypeStubs]

    if not history:
        return 0.0
    library: Any = dp_accounting
    relation = library.NeighboringRelation.ADD_OR_REMOVE_ONE
    accountant: Any = RdpAccountant(_orders(history), relation)
    for z, q, count in history:
        event = library.GaussianDpEvent(z)
        accountant.compose(library.PoissonSampledDpEvent(q, event) if q < 1.0 else event, count)
    return float(accountant.get_epsilon(delta))


def dp_accounting_pld(
    history: History, delta: float, interval: float, *, optimistic: bool = False
) -> float:
    """Return dp-accounting's privacy-loss-distribution figure on one grid.

    Connecting the dots (Doroshenko et al. 2022, arXiv:2207.04380) is pessimistic only; the
    optimistic figure rounds losses down.
    """
    from dp_accounting.pld import (  # pyright: ignore[reportMissingTypeStubs]
        privacy_loss_distribution,
    )

    library: Any = privacy_loss_distribution
    composed: Any = None
    for z, q, count in history:
        loss = library.from_gaussian_mechanism(
            z,
            sampling_prob=q,
            pessimistic_estimate=not optimistic,
            value_discretization_interval=interval,
            use_connect_dots=not optimistic,
        )
        loss = loss.self_compose(count) if count > 1 else loss
        composed = loss if composed is None else composed.compose(loss)
    return 0.0 if composed is None else float(composed.get_epsilon_for_delta(delta))


def _orders(history: History) -> list[float]:
    sampled = any(q < 1.0 for _, q, _ in history)
    return list(_SAMPLED_ORDERS if sampled else ORDERS)


def epsilon_dp_accounting_pld(
    events: Sequence[GaussianEvent], target_delta: float
) -> tuple[float, float]:
    """Return dp-accounting's (optimistic, pessimistic) privacy-loss-distribution figures.

    The events are composed numerically, by convolution. Releases of one kind too faint for a grid
    of affordable size are first joined into blocks of 1/256 of the whole mu, so the composition of
    Gaussians is still checked across hundreds of blocks. The interval is 1/32 of the faintest
    block's deviation, where the pessimistic figure is within 0.1% of the true one.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
    """
    delta = open_unit("target_delta", target_delta)
    if not events:
        return 0.0, 0.0
    whole = math.sqrt(math.fsum(e.count / e.noise_multiplier**2 for e in events))
    blocks = [block for event in events for block in _blocks(event, whole)]
    faintest = max(min(1.0 / z for z, _, _ in blocks), whole * _SMALLEST_BLOCK)
    interval = faintest / _POINTS_PER_DEVIATION
    optimistic = dp_accounting_pld(blocks, delta, interval, optimistic=True)
    return optimistic, dp_accounting_pld(blocks, delta, interval)


def _blocks(event: GaussianEvent, whole: float) -> list[tuple[float, float, int]]:
    """Return a history that compose to the event."""
    size = int((whole * _SMALLEST_BLOCK * event.noise_multiplier) ** 2)
    if size <= 1:
        return [(event.noise_multiplier, 1.0, event.count)]
    size = min(size, event.count)
    number, rest = divmod(event.count, size)
    blocks = [(event.noise_multiplier / math.sqrt(size), 1.0, number)]
    return blocks + ([(event.noise_multiplier / math.sqrt(rest), 1.0, 1)] if rest else [])
