"""Target `churn`: will this person stay away for the next days?

A row is one cut-off in a person's own past. Features read only events before the cut-off; the
target is 1 if no permitted event falls within the horizon after it. Cut-offs are public: the
task's `as_of_s`, going back one horizon at a time, so that a target is never read beyond `as_of_s`.
Only people who were active in the four horizons before a cut-off have a row for it: someone long
gone says nothing about who is about to leave.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.design import DesignRows, bounded, rows_of, whole_parameter
from tacit.client.statistics.histories import HISTORY_SIGNALS, Histories

NAME = "churn_moments/1"

FEATURES = (
    "always",
    "days since last active",
    "days since first active",
    "events in the last horizon",
    "events in all",
    "active days",
    "rising activity",
    "days between active days",
    "overdue",
    "share of strong signals",
)
"""Public names of the features, in order; every value is in [-1, 1]."""

LOOKBACK = 4
"""Horizons before a cut-off in which a person must have been active."""

_DAY_MS = 86_400_000
_STRONG = np.isin(HISTORY_SIGNALS, ("add_to_cart", "purchase", "rating", "preference"))

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def rows(histories: Histories, parameters: Mapping[str, float | int]) -> DesignRows:
    """Compute the rows of every user.

    Args:
        histories: the batch.
        parameters: `as_of_s` Unix seconds, `horizon_days` from 1 to 365, `cutoffs` from 1 to 64.

    Raises:
        BadContext: a parameter is missing or out of range.
    """
    as_of_ms = whole_parameter(parameters, "as_of_s", 0, 2**40) * 1000
    horizon_ms = whole_parameter(parameters, "horizon_days", 1, 365) * _DAY_MS
    n_cutoffs = whole_parameter(parameters, "cutoffs", 1, 64)
    users: list[IntArray] = []
    blocks: list[FloatArray] = []
    targets: list[FloatArray] = []
    owners, times = histories.users, histories.times_ms
    for step in range(1, n_cutoffs + 1):
        cutoff_ms = as_of_ms - step * horizon_ms
        at_risk, found = features(histories, cutoff_ms, horizon_ms)
        after = (times >= cutoff_ms) & (times < cutoff_ms + horizon_ms)
        returned = np.bincount(owners[after], minlength=histories.n_users) > 0
        users.append(at_risk)
        blocks.append(found)
        targets.append((~returned[at_risk]).astype(np.float64))
    return rows_of(
        np.concatenate(users), histories.n_users, np.concatenate(blocks), np.concatenate(targets)
    )


def features(histories: Histories, cutoff_ms: int, horizon_ms: int) -> tuple[IntArray, FloatArray]:
    """Describe the users who were lately active, from events before a moment alone.

    Args:
        histories: the batch.
        cutoff_ms: the moment; events from it on are not read.
        horizon_ms: the horizon of the target, which also sets the scale of the features.

    Returns:
        `(m,)` users at risk, increasing, and `(m, len(FEATURES))`.
    """
    n_users = histories.n_users
    before = histories.times_ms < cutoff_ms
    owners, times = histories.users[before], histories.times_ms[before]
    first, last = _extremes(owners, times, n_users)
    at_risk = np.flatnonzero(last >= max(cutoff_ms - LOOKBACK * horizon_ms, 0))

    def count(kept: npt.NDArray[np.bool_]) -> FloatArray:
        counts = np.bincount(owners[kept], minlength=n_users)
        return np.asarray(counts[at_risk], dtype=np.float64)

    lately = times >= cutoff_ms - horizon_ms
    earlier = (times >= cutoff_ms - 2 * horizon_ms) & ~lately
    new_day = np.ones(len(times), dtype=np.bool_)
    new_day[1:] = (np.diff(times // _DAY_MS) != 0) | (np.diff(owners) != 0)
    recent, previous, total, days = (
        count(lately),
        count(earlier),
        count(np.ones(len(times), dtype=np.bool_)),
        count(new_day),
    )
    horizon_days = horizon_ms / _DAY_MS
    since_last = (cutoff_ms - last[at_risk]) / _DAY_MS
    since_first = (cutoff_ms - first[at_risk]) / _DAY_MS
    gap = np.where(
        days > 1.0, (since_first - since_last) / np.maximum(days - 1.0, 1.0), horizon_days
    )
    strong = count(_STRONG[histories.signals[before]])
    columns = (
        np.ones(len(at_risk)),
        bounded(since_last, horizon_days / 2.0),
        bounded(since_first, 4.0 * horizon_days),
        bounded(recent, 10.0),
        bounded(total, 50.0),
        bounded(days, 4.0),
        (recent - previous) / (recent + previous + 1.0),
        bounded(gap, horizon_days / 2.0),
        (since_last - gap) / np.maximum(since_last + gap, 1e-9),
        2.0 * strong / total - 1.0,
    )
    return at_risk, np.column_stack(columns)


def known(histories: Histories) -> npt.NDArray[np.bool_]:
    """Tell which features each user lets be known, `(n_users, len(FEATURES))`.

    Every feature counts the permitted events; the share of strong signals says something only
    where one of them is permitted.
    """
    told = np.ones((histories.n_users, len(FEATURES)), dtype=np.bool_)
    told[:, FEATURES.index("share of strong signals")] = histories.permitted[:, _STRONG].any(axis=1)
    return told


def _extremes(owners: IntArray, times: IntArray, n_users: int) -> tuple[IntArray, IntArray]:
    """Give the first and the last time of each user, `(n_users,)`; -1 for users without events."""
    first = np.full(n_users, -1, dtype=np.int64)
    last = np.full(n_users, -1, dtype=np.int64)
    last[owners] = times  # times do not fall within a user, so the last one written is the last
    first[owners[::-1]] = times[::-1]
    return first, last
