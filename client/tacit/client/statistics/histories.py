"""The input of statistics about behaviour in time: permitted events, in order, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.statistics.errors import BadProfile

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

HISTORY_SIGNALS = (
    "page_view",
    "product_view",
    "dwell",
    "scroll",
    "search",
    "add_to_cart",
    "purchase",
    "rating",
    "preference",
)
"""Signals a history holds, all of class basic; a column of signals indexes this tuple."""

NO_ACTION = -1


@dataclass(frozen=True, slots=True)
class Events:
    """Hold events as columns, in any order.

    Attributes:
        users: `(n,)` owner of each event, in `[0, n_users)`.
        times_ms: `(n,)` Unix milliseconds.
        signals: `(n,)` index into `HISTORY_SIGNALS`.
        values: `(n,)` number that came with the event, 0 for none.
        actions: `(n,)` action that was chosen for the user in this event, or `NO_ACTION`.
        propensities: `(n,)` probability with which it was chosen, in (0, 1]; 1 without an action.
    """

    users: IntArray
    times_ms: IntArray
    signals: IntArray
    values: FloatArray
    actions: IntArray
    propensities: FloatArray


@dataclass(frozen=True, slots=True)
class Histories:
    """Hold the permitted events of a batch of users in compressed rows, each user's in time order.

    A device holds one user, the simulator thousands; both run the same statistics on it. Times are
    integers so that every count and duration is exact.

    Attributes:
        indptr: `(n_users + 1,)`; user `u` owns the events `indptr[u]:indptr[u + 1]`.
        times_ms: `(nnz,)` Unix milliseconds, not falling within a user.
        signals: `(nnz,)` index into `HISTORY_SIGNALS`.
        values: `(nnz,)` finite.
        actions: `(nnz,)` at least `NO_ACTION`.
        propensities: `(nnz,)` in (0, 1].
        permitted: `(n_users, len(HISTORY_SIGNALS))` what each user lets be read; absence of an
            event says something only where its signal is permitted.
    """

    indptr: IntArray
    times_ms: IntArray
    signals: IntArray
    values: FloatArray
    actions: IntArray
    propensities: FloatArray
    permitted: BoolArray

    def __post_init__(self) -> None:
        """Check every invariant once, so that statistics can rely on them.

        Raises:
            BadProfile: an array has the wrong shape, order or range, a value is not finite, or an
                event is of a signal that its user does not permit.
        """
        if self.indptr.ndim != 1 or len(self.indptr) < 1 or self.indptr[0] != 0:
            raise BadProfile("expected indptr to be one-dimensional and to start at 0")
        if np.any(np.diff(self.indptr) < 0) or self.indptr[-1] != len(self.times_ms):
            raise BadProfile("expected indptr to rise from 0 to the number of events")
        columns = (self.signals, self.values, self.actions, self.propensities)
        if self.times_ms.ndim != 1 or any(c.shape != self.times_ms.shape for c in columns):
            raise BadProfile("expected one signal, value, action and propensity per event")
        if self.permitted.shape != (self.n_users, len(HISTORY_SIGNALS)):
            raise BadProfile(
                f"expected permitted of shape ({self.n_users}, {len(HISTORY_SIGNALS)}), "
                f"got {self.permitted.shape}"
            )
        if len(self.times_ms) == 0:
            return
        if int(self.signals.min()) < 0 or int(self.signals.max()) >= len(HISTORY_SIGNALS):
            raise BadProfile(f"expected signals in [0, {len(HISTORY_SIGNALS)})")
        if int(self.times_ms.min()) < 0:
            raise BadProfile("expected times of zero or more")
        if not bool(np.all(np.isfinite(self.values))):
            raise BadProfile("expected finite values")
        if int(self.actions.min()) < NO_ACTION:
            raise BadProfile("expected actions of zero or more, or NO_ACTION")
        if not bool(np.all((self.propensities > 0.0) & (self.propensities <= 1.0))):
            raise BadProfile("expected propensities in (0, 1]")
        users = self.users
        if not bool(np.all(self.permitted[users, self.signals])):
            raise BadProfile("expected only events of signals that their user permits")
        if bool(np.any((np.diff(self.times_ms) < 0) & (np.diff(users) == 0))):
            raise BadProfile("expected each user's events in time order")

    @property
    def n_users(self) -> int:
        """Count the users of the batch."""
        return len(self.indptr) - 1

    @property
    def users(self) -> IntArray:
        """Give the owning user of each event, `(nnz,)`."""
        return np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(self.indptr))

    def slice(self, start: int, stop: int) -> Histories:
        """Return the histories of users `start` to `stop` (exclusive), as views."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return Histories(
            indptr=self.indptr[start : stop + 1] - first,
            times_ms=self.times_ms[first:last],
            signals=self.signals[first:last],
            values=self.values[first:last],
            actions=self.actions[first:last],
            propensities=self.propensities[first:last],
            permitted=self.permitted[start:stop],
        )


def build_histories(events: Events, permitted: BoolArray) -> Histories:
    """Sort events into histories; what a user does not permit is left out.

    Events of one moment keep the order in which they are given, which on a device is the order of
    its log, so that a device and the simulator build the same history from the same log.

    Args:
        events: of a batch of users.
        permitted: `(n_users, len(HISTORY_SIGNALS))` what each user lets be read.

    Raises:
        BadProfile: columns differ in length, or a user, signal, time, value or propensity is out
            of range.
    """
    n_users = len(permitted)
    columns = (
        events.times_ms,
        events.signals,
        events.values,
        events.actions,
        events.propensities,
    )
    if events.users.ndim != 1 or any(c.shape != events.users.shape for c in columns):
        raise BadProfile("expected columns of one common length")
    users, signals = events.users, events.signals
    if len(users) and (int(users.min()) < 0 or int(users.max()) >= n_users):
        raise BadProfile(f"expected user indices in [0, {n_users})")
    if len(signals) and (int(signals.min()) < 0 or int(signals.max()) >= len(HISTORY_SIGNALS)):
        raise BadProfile(f"expected signals in [0, {len(HISTORY_SIGNALS)})")
    kept = np.flatnonzero(permitted[users, signals])
    order = kept[np.lexsort((events.times_ms[kept], users[kept]))]
    counts = np.bincount(users[kept], minlength=n_users)
    return Histories(
        indptr=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)]),
        times_ms=events.times_ms[order],
        signals=signals[order],
        values=events.values[order],
        actions=events.actions[order],
        propensities=events.propensities[order],
        permitted=permitted,
    )
