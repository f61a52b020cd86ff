"""Sources: what every kind of decision of one store reads from, and keeps its record in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.events import EventLog
from tacit.client.installed import InstalledReleases
from tacit.client.journal import DecisionJournal
from tacit.client.moment import Moments
from tacit.client.slate import system_uniforms


@dataclass(frozen=True, slots=True)
class Sources:
    """What `Decider` and `NextAction` share.

    Attributes:
        events: the log.
        releases: the installed models.
        journal: where decisions are recorded.
        moments: makes the moment of a decision.
        max_model_bytes: the largest model this device takes.
        uniforms: draws numbers from [0, 1) for exploration.
    """

    events: EventLog
    releases: InstalledReleases
    journal: DecisionJournal
    moments: Moments
    max_model_bytes: int
    uniforms: Callable[[int], npt.NDArray[np.float64]] = system_uniforms
