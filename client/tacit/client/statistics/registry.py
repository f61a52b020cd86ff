"""The statistics this client can compute, by the name a task states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import factorization, feature_gram, popularity, subspace
from tacit.client.statistics.profiles import Profiles
from tacit.privacy.quantize import RowBlocks

Statistic = Callable[
    [Profiles, Mapping[str, npt.NDArray[np.floating]], Mapping[str, float | int]], RowBlocks
]

STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        popularity.NAME: popularity.popularity,
        feature_gram.NAME: feature_gram.feature_gram,
        subspace.NAME: subspace.subspace,
        factorization.NAME: factorization.factorization,
    }
)
