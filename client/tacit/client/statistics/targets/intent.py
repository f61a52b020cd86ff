"""Target `intent`: will this browsing soon end in a cart or a purchase?

Events with less than half an hour between them form a session. A row is one moment in a session:
its 1st, 2nd, 4th, 8th and 16th event, as long as no goal (cart or purchase) was reached in it. The
target is 1 if a goal follows within the task's window. Rows are of the task's period, from `from_s`
to `as_of_s`: a moment whose window reaches beyond has no row, for its target is not known yet; nor
has a person who permits neither goal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.design import DesignRows, bounded, rows_of, whole_parameter
from tacit.client.statistics.histories import HISTORY_SIGNALS, Histories

NAME = "intent_moments/1"

FEATURES = (
    "always",
    "items viewed in this session",
    "pages viewed in this session",
    "searches in this session",
    "seconds looked at items",
    "length of this session",
    "seconds between events",
    "carts and purchases before",
    "time since the last of them",
    "time since the last session",
)
"""Public names of the features, in order; every value is in [-1, 1], 0 where not permitted."""

_GOALS = ("add_to_cart", "purchase")
_READS: tuple[tuple[str, ...], ...] = (
    (),
    ("product_view",),
    ("page_view", "scroll"),
    ("search",),
    ("dwell",),
    (),
    (),
    _GOALS,
    _GOALS,
    (),
)
"""Signals one of which must be permitted for a feature to be known; none: any event will do."""

SESSION_GAP_MS = 1_800_000
MOMENTS = (1, 2, 4, 8, 16)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_LONGEST_DWELL_MS = 3_600_000
_DAY_S = 86_400.0


def rows(histories: Histories, parameters: Mapping[str, float | int]) -> DesignRows:
    """Compute the rows of every user.

    Args:
        histories: the batch.
        parameters: `from_s` and `as_of_s` Unix seconds, `window_s` from 1 to 86,400.

    Raises:
        BadContext: a parameter is missing or out of range.
    """
    from_ms = whole_parameter(parameters, "from_s", 0, 2**40) * 1000
    as_of_ms = whole_parameter(parameters, "as_of_s", 0, 2**40) * 1000
    window_ms = whole_parameter(parameters, "window_s", 1, 86_400) * 1000
    journey = _journey(histories)
    times = histories.times_ms
    moment = np.isin(journey.position, MOMENTS)
    moment &= (journey.goals_in_session == 0) & (times >= from_ms)
    moment &= times + window_ms < as_of_ms
    moment &= _permit(histories, "add_to_cart", "purchase")[journey.users]
    at = np.flatnonzero(moment)
    following = journey.next_goal_ms[at]
    reached = (following >= 0) & (following <= times[at] + window_ms)
    return rows_of(
        journey.users[at],
        histories.n_users,
        _features(histories, journey, at),
        reached.astype(np.float64),
    )


def features(histories: Histories) -> tuple[IntArray, FloatArray]:
    """Describe the present session of each user: the moment of the newest event.

    Returns:
        `(m,)` users with any event, increasing, and `(m, len(FEATURES))`.
    """
    at = (histories.indptr[1:] - 1)[np.diff(histories.indptr) > 0]
    journey = _journey(histories)
    return journey.users[at], _features(histories, journey, at)


def present(histories: Histories, now_ms: int) -> tuple[IntArray, FloatArray]:
    """Describe the users who are in a session now that has reached no goal, as `rows` trains on.

    Args:
        histories: the batch.
        now_ms: the moment, Unix milliseconds; who has a newer event is left out.

    Returns:
        `(m,)` users, increasing, and `(m, len(FEATURES))`.
    """
    users, found = features(histories)
    at = histories.indptr[1:][users] - 1
    idle_ms = now_ms - histories.times_ms[at]
    browsing = (idle_ms >= 0) & (idle_ms < SESSION_GAP_MS)
    browsing &= _journey(histories).goals_in_session[at] == 0
    return users[browsing], found[browsing]


def known(histories: Histories) -> BoolArray:
    """Tell which features each user lets be known, `(n_users, len(FEATURES))`; see `_READS`."""
    columns = [
        _permit(histories, *names) if names else np.ones(histories.n_users, dtype=np.bool_)
        for names in _READS
    ]
    return np.column_stack(columns)


@dataclass(frozen=True, slots=True)
class _Journey:
    """Running totals at each event, all integers and therefore exact; `(nnz,)` each.

    Attributes:
        users: owner.
        start: index of the first event of the session.
        first: index of the first event of the user.
        position: place in the session, from 1.
        goals: cumulative goals over the batch, this event included.
        goals_in_session: goals of the session so far, this event included.
        last_goal_ms: time of the user's latest goal up to here, -1 for none.
        next_goal_ms: time of the user's next goal after here, -1 for none.
    """

    users: IntArray
    start: IntArray
    first: IntArray
    position: IntArray
    goals: IntArray
    goals_in_session: IntArray
    last_goal_ms: IntArray
    next_goal_ms: IntArray


def _journey(histories: Histories) -> _Journey:
    users, times = histories.users, histories.times_ms
    n = len(times)
    index = np.arange(n, dtype=np.int64)
    opens = np.ones(n, dtype=np.bool_)
    opens[1:] = (np.diff(users) != 0) | (np.diff(times) >= SESSION_GAP_MS)
    start = np.maximum.accumulate(np.where(opens, index, 0))
    first = histories.indptr[:-1][users]
    goal = _is(histories, "add_to_cart", "purchase")
    goals = np.cumsum(goal, dtype=np.int64)
    latest = np.maximum.accumulate(np.where(goal, index, -1))
    # The next goal strictly after each event: a running minimum from the end, moved by one.
    coming = np.full(n, n, dtype=np.int64)
    coming[:-1] = np.minimum.accumulate(np.where(goal, index, n)[::-1])[::-1][1:]
    safe = np.minimum(coming, n - 1)
    own = (coming < n) & (users[safe] == users) if n else np.zeros(0, dtype=np.bool_)
    return _Journey(
        users=users,
        start=start,
        first=first,
        position=index - start + 1,
        goals=goals,
        goals_in_session=goals - (goals[start] - goal[start]),
        last_goal_ms=np.where(latest >= first, times[latest], -1) if n else latest,
        next_goal_ms=np.where(own, times[safe], -1),
    )


def _features(histories: Histories, journey: _Journey, at: IntArray) -> FloatArray:
    """Compute the features at some events, `(m, len(FEATURES))`."""
    times, users = histories.times_ms, journey.users[at]
    start, first = journey.start[at], journey.first[at]

    def in_session(amounts: IntArray) -> FloatArray:
        running = np.cumsum(amounts, dtype=np.int64)
        return np.asarray(running[at] - (running[start] - amounts[start]), dtype=np.float64)

    def counted(scale: float, *names: str) -> FloatArray:
        return bounded(in_session(_is(histories, *names).astype(np.int64)), scale)

    seconds = np.where(_is(histories, "dwell"), histories.values, 0.0)
    dwell_ms = np.rint(np.clip(seconds, 0.0, _LONGEST_DWELL_MS / 1000.0) * 1000.0)
    looked = bounded(in_session(dwell_ms.astype(np.int64)) / 1000.0, 60.0)
    elapsed = (times[at] - times[start]) / 1000.0
    pace = elapsed / np.maximum(journey.position[at] - 1.0, 1.0)
    goal = _is(histories, "add_to_cart", "purchase").astype(np.int64)
    past_goals = (journey.goals[at] - (journey.goals[first] - goal[first])).astype(np.float64)
    last_goal = journey.last_goal_ms[at]
    since_goal = bounded((times[at] - last_goal) / 1000.0, 7.0 * _DAY_S)
    apart = (times[start] - times[np.maximum(start - 1, 0)]) / 1000.0
    columns = (
        np.ones(len(at)),
        counted(4.0, "product_view"),
        counted(4.0, "page_view", "scroll"),
        counted(1.0, "search"),
        looked,
        bounded(elapsed, 300.0),
        np.where(journey.position[at] > 1, bounded(pace, 30.0), 0.0),
        bounded(past_goals, 2.0),
        np.where(last_goal >= 0, since_goal, 1.0),
        np.where(start > first, bounded(apart, _DAY_S), 1.0),
    )
    return np.where(known(histories)[users], np.column_stack(columns), 0.0)


def _is(histories: Histories, *names: str) -> BoolArray:
    """Tell which events are of some signals, `(nnz,)`."""
    return np.isin(histories.signals, [HISTORY_SIGNALS.index(name) for name in names])


def _permit(histories: Histories, *names: str) -> BoolArray:
    """Tell who permits any of some signals, `(n_users,)`."""
    columns = [HISTORY_SIGNALS.index(name) for name in names]
    return np.asarray(histories.permitted[:, columns].any(axis=1), dtype=np.bool_)
