"""Ask Opacus and dp-accounting what the same events cost. Each is imported when it is asked.

`opacus` brings torch and takes seconds to import, so nothing here runs on a device or at the start
of a command. Opacus' Gaussian-DP accountant is a central-limit approximation that falls below the
truth; nothing here calls it.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

from tacit.privacy._parameters import open_unit
from tacit.privacy.accounting_rdp import ORDERS
from tacit.privacy.gaussian_event import GaussianEvent

__all__ = [
    "PLD_LARGEST_EPSILON",
    "epsilon_dp_accounting",
    "epsilon_dp_accounting_pld",
    "epsilon_opacus",
]

PLD_LARGEST_EPSILON = 300.0
"""Above this exponentials of losses overflow in dp-accounting; its RDP is used there."""

_POINTS_PER_DEVIATION = 32.0
_SMALLEST_BLOCK = 1.0 / 256.0


def epsilon_opacus(events: Sequence[GaussianEvent], target_delta: float) -> float:
    """Return Opacus' RDP figure, not rounded.

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
    from dp_accounting.pld import (  # pyright: ignore[reportMissingTypeStubs]
        privacy_loss_distribution,
    )

    library: Any = privacy_loss_distribution
    delta = open_unit("target_delta", target_delta)
    if not events:
        return 0.0, 0.0
    whole = math.sqrt(math.fsum(e.count / e.noise_multiplier**2 for e in events))
    blocks = [block for event in events for block in _blocks(event, whole)]
    faintest = max(min(1.0 / z for z, _ in blocks), whole * _SMALLEST_BLOCK)
    figures: list[float] = []
    for pessimistic in (False, True):
        composed: Any = None
        for z, count in blocks:
            # Connecting the dots (Doroshenko et al. 2022, arXiv:2207.04380) is pessimistic only.
            loss = library.from_gaussian_mechanism(
                z,
                pessimistic_estimate=pessimistic,
                value_discretization_interval=faintest / _POINTS_PER_DEVIATION,
                use_connect_dots=pessimistic,
            )
            loss = loss.self_compose(count) if count > 1 else loss
            composed = loss if composed is None else composed.compose(loss)
        figures.append(float(composed.get_epsilon_for_delta(delta)))
    return figures[0], figures[1]


def _blocks(event: GaussianEvent, whole: float) -> list[tuple[float, int]]:
    """Return (noise multiplier, count) pairs that compose to the event."""
    size = int((whole * _SMALLEST_BLOCK * event.noise_multiplier) ** 2)
    if size <= 1:
        return [(event.noise_multiplier, event.count)]
    size = min(size, event.count)
    number, rest = divmod(event.count, size)
    blocks = [(event.noise_multiplier / math.sqrt(size), number)]
    return blocks + ([(event.noise_multiplier / math.sqrt(rest), 1)] if rest else [])
