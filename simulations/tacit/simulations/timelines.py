"""From a data set to the histories that its users' devices would hold."""

from __future__ import annotations

import numpy as np

from tacit.client.statistics import (
    HISTORY_SIGNALS,
    NO_ACTION,
    Events,
    Histories,
    build_histories,
)
from tacit.simulations.datasets import Dataset


def dataset_histories(dataset: Dataset) -> Histories:
    """Build everyone's history; every signal that occurs is permitted by all.

    Times are rounded to milliseconds, as devices record them. Values that mean nothing but "one
    event" are kept; only those of dwell events are read.
    """
    place = {name: index for index, name in enumerate(HISTORY_SIGNALS)}
    indices = np.array([place.get(name, -1) for name in dataset.signal_names], dtype=np.int64)
    kept = indices[dataset.signals] >= 0
    n = int(np.sum(kept))
    occurring = np.isin(HISTORY_SIGNALS, dataset.signal_names)
    return build_histories(
        Events(
            users=dataset.users[kept],
            times_ms=np.rint(dataset.timestamps[kept] * 1000.0).astype(np.int64),
            signals=indices[dataset.signals[kept]],
            values=dataset.values[kept],
            actions=np.full(n, NO_ACTION, dtype=np.int64),
            propensities=np.ones(n),
        ),
        np.tile(occurring, (dataset.n_users, 1)),
    )
