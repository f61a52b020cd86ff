"""The claimed figure without any library: milliseconds, for what-if questions and statements.

The figure and its rounding are those of `accounting.epsilon`; only who confirms it differs. What is
released or verified is claimed by `accounting.epsilon`, never from here.
"""

from collections.abc import Sequence

from tacit.privacy.accounting import ACCOUNTANT, ACCOUNTANT_VERSION, epsilon_bound
from tacit.privacy.accounting_claim import (
    CrossCheck,
    EpsilonClaim,
    require_confirmed,
    round_down,
    round_up,
)
from tacit.privacy.accounting_closed_form import epsilon_lower
from tacit.privacy.accounting_rdp import epsilon_rdp
from tacit.privacy.gaussian_event import GaussianEvent
from tacit.privacy.trust import level_and_relation

RENYI = "tacit-rdp"


def epsilon_without_libraries(events: Sequence[GaussianEvent], target_delta: float) -> EpsilonClaim:
    """Compose events as `accounting.epsilon` does, confirmed by our own Renyi bound alone.

    Guarantee: that of `accounting.epsilon`, without an independent implementation behind it.

    Raises:
        BadParameter: `target_delta` is not in (0, 1).
        AccountantsDisagree: The Renyi bound contradicts the figure.
    """
    figure = epsilon_bound(events, target_delta)
    check = CrossCheck(epsilon_rdp(events, target_delta), RENYI, ACCOUNTANT_VERSION)
    require_confirmed(figure, check)
    level, relation = level_and_relation(event.trust_level for event in events)
    return EpsilonClaim(
        epsilon=round_up(figure),
        target_delta=float(target_delta),
        accountant=ACCOUNTANT,
        accountant_version=ACCOUNTANT_VERSION,
        cross_checks=(check,),
        epsilon_lower=round_down(epsilon_lower(events, target_delta)),
        neighboring_relation=relation,
        trust_level=level,
    )
