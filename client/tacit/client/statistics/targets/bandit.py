"""Target `bandit`: which of a few actions earns a reward in this context?

A decision is an event that carries the action that was chosen and the probability it was chosen
with. The reward is 1 if a cart or a purchase follows within the task's window and before the next
decision, else 0. Each action has its own regression on the context (the disjoint model of Li, Chu,
Langford, Schapire 2010, "A contextual-bandit approach to personalized news article
recommendation", Algorithm 1), so its block of the sum holds that paper's `A_a` and `b_a`.

Rows are weighted by `min(1 / propensity, cap) / cap`: where the linear model is not exact, that
fits each action to all contexts, not to those where the old policy preferred it; the cap bounds
the variance and keeps weights in (0, 1] (truncated importance weights; Ionides 2008).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.design import DesignRows, bounded, rows_of, whole_parameter
from tacit.client.statistics.histories import HISTORY_SIGNALS, Histories

NAME = "bandit_moments/1"

FEATURES = (
    "always",
    "time since the last event",
    "items viewed",
    "searches",
    "carts and purchases",
    "share of item views",
)
"""Public names of the context features, in order; in [-1, 1], 0 where not permitted."""

MAX_ACTIONS = 64
PROPENSITY_CAP = 10.0

_DAY_S = 86_400.0

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def rows(histories: Histories, parameters: Mapping[str, float | int]) -> DesignRows:
    """Compute the rows of every user, one a decision; blocks are actions.

    Decisions with an action outside `[0, actions)` are left out, as are those before `from_s` or
    whose window reaches beyond `as_of_s`, and everything of a person who permits neither goal.

    Args:
        histories: the batch.
        parameters: `actions` from 2 to 64, `from_s` and `as_of_s` Unix seconds, `window_s` from 1
            to 604,800.

    Raises:
        BadContext: a parameter is missing or out of range.
    """
    actions = whole_parameter(parameters, "actions", 2, MAX_ACTIONS)
    from_ms = whole_parameter(parameters, "from_s", 0, 2**40) * 1000
    as_of_ms = whole_parameter(parameters, "as_of_s", 0, 2**40) * 1000
    window_ms = whole_parameter(parameters, "window_s", 1, 604_800) * 1000
    users, times = histories.users, histories.times_ms
    decided = histories.actions >= 0
    usable = decided & (histories.actions < actions) & (times >= from_ms)
    usable &= times + window_ms < as_of_ms
    usable &= _permit(histories, "add_to_cart", "purchase")[users]
    at = np.flatnonzero(usable)
    goal_at = _following(_is(histories, "add_to_cart", "purchase"))[at]
    next_at = _following(decided)[at]
    end = np.minimum(histories.indptr[1:][users[at]], next_at)
    held = np.minimum(goal_at, len(times) - 1)
    rewarded = (goal_at < end) & (times[held] <= times[at] + window_ms)
    weights = np.minimum(1.0 / histories.propensities[at], PROPENSITY_CAP) / PROPENSITY_CAP
    return rows_of(
        users[at],
        histories.n_users,
        _features(histories, users[at], at, times[at]),
        rewarded.astype(np.float64),
        weights=weights,
        blocks=histories.actions[at],
        n_blocks=actions,
    )


def features(histories: Histories, now_ms: IntArray) -> FloatArray:
    """Describe the context in which each user is now, from all events; `(n_users, d)`.

    Args:
        histories: the batch; events after the moment must not be in it.
        now_ms: `(n_users,)` the moment of each user's decision.
    """
    users = np.arange(histories.n_users, dtype=np.int64)
    return _features(histories, users, histories.indptr[1:], now_ms)


def _features(histories: Histories, users: IntArray, at: IntArray, now_ms: IntArray) -> FloatArray:
    """Describe the contexts just before some places in the log, `(m, d)`.

    Args:
        histories: the batch.
        users: `(m,)` whose context.
        at: `(m,)` index one past the user's last event that may be read.
        now_ms: `(m,)` the moment.
    """
    n = len(histories.times_ms)
    first = histories.indptr[:-1][users]

    def counted(*names: str) -> FloatArray:
        running = np.concatenate([[0], np.cumsum(_is(histories, *names), dtype=np.int64)])
        return np.asarray(running[at] - running[first], dtype=np.float64)

    def known(column: FloatArray, *names: str) -> FloatArray:
        return np.where(_permit(histories, *names)[users], column, 0.0)

    any_before = at > first
    previous = np.minimum(np.maximum(at - 1, 0), max(n - 1, 0))
    since = (now_ms - histories.times_ms[previous]) / 1000.0 if n else np.zeros(len(at))
    viewed, total = counted("product_view"), (at - first).astype(np.float64)
    columns = (
        np.ones(len(at)),
        np.where(any_before, bounded(np.maximum(since, 0.0), _DAY_S), 1.0),
        known(bounded(viewed, 10.0), "product_view"),
        known(bounded(counted("search"), 3.0), "search"),
        known(bounded(counted("add_to_cart", "purchase"), 2.0), "add_to_cart", "purchase"),
        known(2.0 * viewed / np.maximum(total, 1.0) - 1.0, "product_view"),
    )
    return np.column_stack(columns)


def _following(marked: BoolArray) -> IntArray:
    """Give the index of the next marked event strictly after each, the length for none."""
    n = len(marked)
    coming = np.full(n, n, dtype=np.int64)
    index = np.arange(n, dtype=np.int64)
    coming[:-1] = np.minimum.accumulate(np.where(marked, index, n)[::-1])[::-1][1:]
    return coming


def _is(histories: Histories, *names: str) -> BoolArray:
    """Tell which events are of some signals, `(nnz,)`."""
    return np.isin(histories.signals, [HISTORY_SIGNALS.index(name) for name in names])


def _permit(histories: Histories, *names: str) -> BoolArray:
    """Tell who permits any of some signals, `(n_users,)`."""
    columns = [HISTORY_SIGNALS.index(name) for name in names]
    return np.asarray(histories.permitted[:, columns].any(axis=1), dtype=np.bool_)
