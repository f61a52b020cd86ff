"""Statistics a device may contribute: registered by name and version, never shipped as code.

Each is a pure function of a batch of profiles, or of histories, and the public context of a round.
A device calls it with one user, the simulator with thousands: one implementation, and a user's
result is bit for bit the same in both. Functions return the statistic unclipped; `contributions`
clips and quantises it.
"""

from tacit.client.statistics.contribution import Batch, contributions, rounding_info
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
