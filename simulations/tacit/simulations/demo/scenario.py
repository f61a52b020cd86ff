"""Who of a population refuses what: part of the play, drawn from the public seed.

Consents, withdrawals and drop-outs of a real population are its own affair; here they are chosen
so that every rule has someone to hold for. Nothing protective is drawn from this seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REFUSES_LEARN = 0.06
REFUSES_SIGNAL = 0.08
REFUSES_ONLY_SIGNAL = 0.03
WITHDRAWS = 0.04
DROPS_OUT = 0.03


@dataclass(frozen=True, slots=True)
class Role:
    """What one device does.

    Attributes:
        learn_signals: signals it grants for `learn`; empty when it refuses the purpose.
        withdraws: withdraws `learn` between the first and the second round.
        drops_out_in: the round in which it takes the offer and never answers; 0 for none.
    """

    learn_signals: tuple[str, ...]
    withdraws: bool
    drops_out_in: int


def cast_roles(n_devices: int, signals: Sequence[str], seed: int) -> tuple[Role, ...]:
    """Give each device its part; at least one device plays each.

    Args:
        n_devices: how many, at least 20.
        signals: the signals this population has.
        seed: public seed.
    """
    rng = np.random.default_rng([seed, 0x7AC17])
    order = [int(device) for device in rng.permutation(n_devices)]
    refusing_signal = REFUSES_SIGNAL if len(signals) > 1 else REFUSES_ONLY_SIGNAL
    groups: list[set[int]] = []
    start = 0
    for share in (REFUSES_LEARN, refusing_signal, WITHDRAWS, DROPS_OUT):
        size = max(1, round(share * n_devices))
        groups.append(set(order[start : start + size]))
        start += size
    no_learn, no_signal, withdrawing, dropping = groups
    roles: list[Role] = []
    for device in range(n_devices):
        granted = tuple(signals)
        if device in no_learn:
            granted = ()
        elif device in no_signal:
            refused = signals[int(rng.integers(len(signals)))]
            granted = tuple(s for s in signals if s != refused)
        roles.append(
            Role(
                learn_signals=granted,
                withdraws=device in withdrawing,
                drops_out_in=int(rng.integers(1, 4)) if device in dropping else 0,
            )
        )
    return tuple(roles)
