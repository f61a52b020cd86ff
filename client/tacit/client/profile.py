"""Profiles: from the sealed log to what a statistic or a decision may see.

Consent is applied where rows are read, not after: an event of a signal that the person did not
permit for the purpose is never decrypted, so no later step can use it by mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.catalogue import Catalogue
from tacit.client.decide.recency import Recency, age_ranks
from tacit.client.events import EventLog, LoggedEvent
from tacit.client.statistics import SIGNAL_WEIGHTS, Profiles, build_profiles


def profile(
    log: EventLog,
    catalogue: Catalogue,
    permitted: Collection[str],
    signal_weights: Mapping[str, float],
    *,
    through: int | None = None,
) -> Profiles:
    """Build the one-user profile that a task's statistic runs on.

    Guarantee: the result is the same, bit for bit, as if every event outside
    `permitted ∩ signal_weights` had never been recorded.

    Args:
        log: the event log.
        catalogue: whose order indexes the vectors; items it does not list are left out.
        permitted: signals the person granted for the purpose.
        signal_weights: signal → weight > 0, from the signed manifest.
        through: newest event to read; None for all.
    """
    signals = set(permitted) & set(signal_weights)
    items: list[int] = []
    weights: list[float] = []
    for logged in log.read(signals, through=through):
        for item_id in logged.event.items:
            index = catalogue.index(item_id)
            if index is not None:
                items.append(index)
                weights.append(signal_weights[logged.event.signal])
    return build_profiles(
        np.zeros(len(items), dtype=np.int64),
        np.array(items, dtype=np.int64),
        np.array(weights, dtype=np.float64),
        n_users=1,
        n_items=len(catalogue),
    )


@dataclass(frozen=True, slots=True)
class History:
    """What a decision reads: one entry per item, with the event to cite for it.

    Attributes:
        items: `(n,)` catalogue indices, increasing.
        weights: `(n,)` strength of each, above zero.
        events: `(n,)` the strongest event of each item, the latest of equals.
        owned: catalogue indices of items bought.
    """

    items: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    events: tuple[LoggedEvent, ...]
    owned: frozenset[int]


def history(
    log: EventLog,
    catalogue: Catalogue,
    permitted: Collection[str],
    *,
    recency: Recency | None = None,
) -> History:
    """Read the local history that `decide` may use; see `profile` for what is left out."""
    strongest: dict[int, LoggedEvent] = {}
    last_seen: dict[int, int] = {}
    owned: set[int] = set()
    for logged in log.read(set(permitted) & set(SIGNAL_WEIGHTS)):
        weight = SIGNAL_WEIGHTS[logged.event.signal]
        for item_id in logged.event.items:
            index = catalogue.index(item_id)
            if index is None:
                continue
            held = strongest.get(index)
            if held is None or weight >= SIGNAL_WEIGHTS[held.event.signal]:
                strongest[index] = logged
            last_seen[index] = logged.sequence
            if logged.event.signal == "purchase":
                owned.add(index)
    items = np.array(sorted(strongest), dtype=np.int64)
    events = tuple(strongest[int(index)] for index in items)
    weights = np.array([SIGNAL_WEIGHTS[e.event.signal] for e in events], dtype=np.float64)
    if recency is not None and len(items):
        seen = np.array([last_seen[int(index)] for index in items], dtype=np.int64)
        alone = np.zeros(len(items), dtype=np.int64)
        weights = recency.reweight(weights, age_ranks(seen, alone), alone)
    return History(items, weights, events, frozenset(owned))
