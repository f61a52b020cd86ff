"""One interface to every accountant: the closed form, Renyi, dp-accounting and Opacus.

    accountant           takes            lower bound                   upper bound
    TacitGaussian        full             closed form                   closed form, certified
    OpacusRdp            full, poisson    -                             Renyi
    DpAccountingRdp      full, poisson    -                             Renyi
    OpacusPrv            full, poisson    estimate - error              estimate + error
    DpAccountingPld      full, poisson    optimistic grid               pessimistic grid, refined

All charge the lattice alike (`accounting_closed_form`): its argument turns each release into
post-processing of a Gaussian one of slightly less noise, sampled or not. Opacus' Gaussian-DP
accountant is not here: it is a central-limit approximation that falls below the truth.

Libraries are imported when they are asked; constructing an accountant costs nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from tacit.privacy._parameters import open_unit
from tacit.privacy.accounting_closed_form import LATTICE, epsilon_lower, epsilon_upper
from tacit.privacy.accounting_libraries import (
    dp_accounting_pld,
    dp_accounting_rdp,
    epsilon_dp_accounting_pld,
    opacus_prv,
    opacus_rdp,
)
from tacit.privacy.accounting_modes import Event, PoissonEvent, fully_participating
from tacit.privacy.accounting_rdp import epsilon_rdp
from tacit.privacy.errors import AccountantsDisagree, BadParameter
from tacit.privacy.gaussian_event import GaussianEvent

_FIRST_INTERVAL = 1e-3
_REFINEMENT = 4.0
_MOST_REFINEMENTS = 8
_SETTLED = 0.01


@dataclass(frozen=True, slots=True)
class EpsilonBounds:
    """What an accountant knows of the epsilon of some events.

    Attributes:
        lower: No correct analysis gives less; 0 where the accountant has no lower bound.
        upper: The events satisfy it.
    """

    lower: float
    upper: float


class Accountant(Protocol):
    """Composes events and converts to epsilon."""

    @property
    def name(self) -> str:
        """Return the name of the accountant, as it stands in claims."""
        ...

    @property
    def version(self) -> str:
        """Return the version of what computes."""
        ...

    def bounds(self, events: Sequence[Event], target_delta: float) -> EpsilonBounds:
        """Bound epsilon at `target_delta`; no events give (0, 0).

        Raises:
            BadParameter: `target_delta` is not in (0, 1), or an event is of a mode that this
                accountant does not take.
        """
        ...


class TacitGaussian:
    """The closed form, certified; full participation only."""

    name = "tacit-gaussian"
    version = "1"

    def bounds(self, events: Sequence[Event], target_delta: float) -> EpsilonBounds:
        """Bound epsilon; see `Accountant`."""
        full = fully_participating(events)
        upper = min(epsilon_upper(full, target_delta), epsilon_rdp(full, target_delta))
        return EpsilonBounds(epsilon_lower(full, target_delta), upper)


class OpacusRdp:
    """Opacus' Renyi accountant."""

    name = "opacus-rdp"

    @property
    def version(self) -> str:
        """Return the version of Opacus."""
        return version("opacus")

    def bounds(self, events: Sequence[Event], target_delta: float) -> EpsilonBounds:
        """Bound epsilon; see `Accountant`."""
        delta = open_unit("target_delta", target_delta)
        return EpsilonBounds(0.0, opacus_rdp(_history(events), delta))


class OpacusPrv:
    """Opacus' numerical accountant (Gopi, Lee, Wutschitz 2021, arXiv:2106.02848)."""

    name = "opacus-prv"

    @property
    def version(self) -> str:
        """Return the version of Opacus."""
        return version("opacus")

    def bounds(self, events: Sequence[Event], target_delta: float) -> EpsilonBounds:
        """Bound epsilon to within 0.01 either way; see `Accountant`."""
        delta = open_unit("target_delta", target_delta)
        return EpsilonBounds(*opacus_prv(_history(events), delta))


class DpAccountingRdp:
    """dp-accounting's Renyi accountant."""

    name = "dp-accounting-rdp"

    @property
    def version(self) -> str:
        """Return the version of dp-accounting."""
        return version("dp-accounting")

    def bounds(self, events: Sequence[Event], target_delta: float) -> EpsilonBounds:
        """Bound epsilon; see `Accountant`."""
        delta = open_unit("target_delta", target_delta)
        return EpsilonBounds(0.0, dp_accounting_rdp(_history(events), delta))


class DpAccountingPld:
    """dp-accounting's privacy-loss distributions; the grid is refined until the figure settles."""

    name = "dp-accounting-pld"

    @property
    def version(self) -> str:
        """Return the version of dp-accounting."""
        return version("dp-accounting")

    def bounds(self, events: Sequence[Event], target_delta: float) -> EpsilonBounds:
        """Bound epsilon; see `Accountant`.

        Raises:
            AccountantsDisagree: The figure of sampled events does not settle to within 1%.
        """
        delta = open_unit("target_delta", target_delta)
        history = _history(events)
        if not any(isinstance(event, PoissonEvent) for event in events):
            full = [GaussianEvent(z, count) for z, _, count in history]
            return EpsilonBounds(*epsilon_dp_accounting_pld(full, delta))
        interval, previous = _FIRST_INTERVAL, math.inf
        for _ in range(_MOST_REFINEMENTS):
            upper = dp_accounting_pld(history, delta, interval)
            # The error falls at least as fast as the interval, so what is left of it is under a
            # third of the last change. Pessimistic at any interval: this is about tightness.
            if previous - upper <= 3.0 * _SETTLED * upper:
                lower = dp_accounting_pld(history, delta, interval, optimistic=True)
                return EpsilonBounds(lower, upper)
            interval, previous = interval / _REFINEMENT, upper
        raise AccountantsDisagree(
            f"dp-accounting-pld: expected a figure that settles to 1%, got {previous!r} and still "
            f"falling at interval {interval!r}"
        )


ACCOUNTANTS: tuple[Accountant, ...] = (
    TacitGaussian(),
    DpAccountingPld(),
    OpacusPrv(),
    DpAccountingRdp(),
    OpacusRdp(),
)


def _history(events: Sequence[Event]) -> list[tuple[float, float, int]]:
    """Return (z, q, count) of each event, with what the lattice takes taken from z.

    Raises:
        BadParameter: Noise is too small for the lattice bound.
    """
    history: list[tuple[float, float, int]] = []
    for event in events:
        left = event.noise_multiplier**2 - LATTICE
        if left <= 0.0:
            raise BadParameter(
                f"noise_multiplier: expected above 0.002 for this accountant, got "
                f"{event.noise_multiplier!r}"
            )
        q = event.sampling_probability if isinstance(event, PoissonEvent) else 1.0
        history.append((math.sqrt(left), q, event.count))
    return history
