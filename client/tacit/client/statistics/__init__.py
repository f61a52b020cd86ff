"""Statistics a device may contribute: registered by name and version, never shipped as code.

Each is a pure function of a batch of profiles and the public context of a round. A device calls it
with one user, the simulator with thousands: one implementation, and a user's result is bit for bit
the same in both. Functions return the statistic unclipped; `contributions` clips and quantises it.
"""

from tacit.client.statistics.contribution import contributions, rounding_info
from tacit.client.statistics.errors import BadContext, BadProfile, StatisticError
from tacit.client.statistics.profiles import (
    SIGNAL_WEIGHTS,
    Profiles,
    build_profiles,
    signal_weights,
)
from tacit.client.statistics.registry import STATISTICS, Statistic

__all__ = [
    "SIGNAL_WEIGHTS",
    "STATISTICS",
    "BadContext",
    "BadProfile",
    "Profiles",
    "Statistic",
    "StatisticError",
    "build_profiles",
    "contributions",
    "rounding_info",
    "signal_weights",
]
