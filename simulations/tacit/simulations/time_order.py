"""Say where the order of a data set is not time, and what a split or recency then means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.simulations.datasets import Dataset
from tacit.simulations.holdout import SplitKind

IntArray = npt.NDArray[np.int64]


def time_warnings(dataset: Dataset, split: SplitKind, recency: bool) -> tuple[str, ...]:
    """Warn where a split or a weighting by time rests on an order that is not time.

    Args:
        dataset: the data.
        split: what is held out.
        recency: whether devices weigh newer items more.

    Returns:
        At most one sentence; none where neither needs time, or the data has what it needs.
    """
    needs = [
        *(["the temporal split"] if split == "temporal" else []),
        *(["the leave-one-out split"] if split == "leave-one-out" else []),
        *(["recency"] if recency else []),
    ]
    if not needs:
        return ()
    what, verb = " and ".join(needs), "follow" if len(needs) > 1 else "follows"
    if dataset.times == "sequence":
        if split != "temporal":
            return ()
        return (
            "times are places in each user's own sequence, so one cut-off for everybody is not a "
            "moment: the temporal split says nothing about the future here",
        )
    if dataset.times == "clock":
        if len(dataset.timestamps) < 2 or float(np.ptp(dataset.timestamps)) > 0.0:
            return ()
        return (f"all events have the same time: {what} {verb} the order of the lines instead",)
    return (f"the data has no times: {what} {verb} the order of its lines, {_lines(dataset)}",)


def _lines(dataset: Dataset) -> str:
    """Tell what the lines are ordered by, as far as the lines themselves show."""
    order = np.argsort(dataset.timestamps, kind="stable")
    users, signals = dataset.users[order], dataset.signals[order]
    by_user = len(users) > dataset.n_users and _is_grouped(users)
    pairs = users * len(dataset.signal_names) + signals
    several = len(np.unique(pairs)) > len(np.unique(users))
    if several and _is_grouped(pairs) and (by_user or _is_grouped(signals)):
        return (
            "which is by user and signal, NOT time: the last event of a user is the last of one "
            "signal, and no result here is about the future"
        )
    if by_user:
        return (
            "which is by user, NOT time across users (and perhaps not within one): no result here "
            "is about the future"
        )
    return "which may or may not be time"


def _is_grouped(keys: IntArray) -> bool:
    """Tell whether equal keys stand together."""
    runs = 1 + int(np.count_nonzero(np.diff(keys)))
    return runs == len(np.unique(keys))
