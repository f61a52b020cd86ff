"""The statistics this client can compute, by the name a task states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import (
    cross_gram,
    factorization,
    feature_gram,
    popularity,
    subspace,
)
from tacit.client.statistics.histories import Histories
from tacit.client.statistics.linear import moments_statistic
from tacit.client.statistics.profiles import Profiles
from tacit.client.statistics.targets import bandit, churn, intent
from tacit.privacy.quantize import RowBlocks

Statistic = Callable[
    [Profiles, Mapping[str, npt.NDArray[np.floating]], Mapping[str, float | int]], RowBlocks
]

STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        popularity.NAME: popularity.popularity,
        feature_gram.NAME: feature_gram.feature_gram,
        cross_gram.NAME: cross_gram.cross_gram,
        subspace.NAME: subspace.subspace,
        factorization.NAME: factorization.factorization,
    }
)
"""What is computed from profiles: which items, how strongly."""

HistoryStatistic = Callable[
    [Histories, Mapping[str, npt.NDArray[np.floating]], Mapping[str, float | int]], RowBlocks
]

HISTORY_STATISTICS: Mapping[str, HistoryStatistic] = MappingProxyType(
    {
        churn.NAME: moments_statistic(churn.rows),
        intent.NAME: moments_statistic(intent.rows),
        bandit.NAME: moments_statistic(bandit.rows),
    }
)
"""What is computed from histories: what happened, when, in which order."""

KNOWN_STATISTICS = (*STATISTICS, *HISTORY_STATISTICS)
"""Every name a task may state; an offer of another is refused."""
