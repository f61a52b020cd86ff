"""Statistic `popularity/1`: the direction of each profile, summed into what is popular.

Scaling every profile to unit length bounds the contribution at 1 without clipping and lets light
users count as much as heavy ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.profiles import Profiles
from tacit.client.statistics.segments import unit_rows
from tacit.privacy.quantize import RowBlocks

NAME = "popularity/1"


def popularity(
    profiles: Profiles,
    context: Mapping[str, npt.NDArray[np.floating]],
    parameters: Mapping[str, float | int],
) -> RowBlocks:
    """Compute `x_u / ||x_u||` for each user.

    Args:
        profiles: the batch; empty profiles yield the zero vector.
        context: not used.
        parameters: not used.

    Returns:
        Blocks of width 1 over `n_items` rows; every non-empty user has Euclidean norm 1.
    """
    del context, parameters
    return RowBlocks(
        indptr=profiles.indptr,
        rows=profiles.items,
        values=unit_rows(profiles)[:, np.newaxis],
        n_rows=profiles.n_items,
    )
