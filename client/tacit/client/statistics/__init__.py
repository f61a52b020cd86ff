"""Statistics a device may contribute: registered by name and version, never shipped as code.

Each is a pure function of a batch of profiles, or of histories, and the public context of a round.
A device calls it with one user, the simulator with thousands: one implementation, and a user's
result is bit for bit the same in both. Functions return the statistic unclipped; `contributions`
clips and quantises it. What only contributing needs is loaded when it is first used, so decisions
do not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tacit.client.statistics.errors import BadContext, BadProfile, StatisticError
from tacit.client.statistics.histories import (
    HISTORY_SIGNALS,
    NO_ACTION,
    Events,
    Histories,
    build_histories,
)
from tacit.client.statistics.profiles import (
    SIGNAL_WEIGHTS,
    Profiles,
    build_profiles,
    signal_weights,
)

if TYPE_CHECKING:
    from tacit.client.statistics.contribution import Batch, contributions, rounding_info
    from tacit.client.statistics.registry import (
        HISTORY_STATISTICS,
        KNOWN_STATISTICS,
        STATISTICS,
        HistoryStatistic,
        Statistic,
    )

__all__ = [
    "HISTORY_SIGNALS",
    "HISTORY_STATISTICS",
    "KNOWN_STATISTICS",
    "NO_ACTION",
    "SIGNAL_WEIGHTS",
    "STATISTICS",
    "BadContext",
    "BadProfile",
    "Batch",
    "Events",
    "Histories",
    "HistoryStatistic",
    "Profiles",
    "Statistic",
    "StatisticError",
    "build_histories",
    "build_profiles",
    "contributions",
    "rounding_info",
    "signal_weights",
]

_LAZY = {
    "contribution": ("Batch", "contributions", "rounding_info"),
    "registry": (
        "HISTORY_STATISTICS",
        "KNOWN_STATISTICS",
        "STATISTICS",
        "HistoryStatistic",
        "Statistic",
    ),
}


def __getattr__(name: str) -> object:
    """Load a name on first use (PEP 562)."""
    for module, names in _LAZY.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
