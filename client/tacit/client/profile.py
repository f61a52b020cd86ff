"""Profiles: from the sealed log to what a statistic or a decision may see.

Consent is applied where rows are read, not after: an event of a signal that the person did not
permit for the purpose is never decrypted, so no later step can use it by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.attention import view_weight
from tacit.client.catalogue import Catalogue
from tacit.client.decide.recency import Recency, age_ranks
from tacit.client.events import Event, EventLog, LoggedEvent
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
        events: `(n,)` the strongest event of each item, the latest of equals; sequence 0 for what
            the app gave as a seed and nothing was recorded of.
        owned: catalogue indices of items bought.
        met: catalogue indices of items that something was done with, increasing; seeds and stated
            preferences are not among them.
        behind: `(n,)` sequences of every event that speaks of the item.
        groups: `(n,)` number of what each entry is cited as: entries that stand for one stated
            preference share one, every other entry has its own.
    """

    items: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    events: tuple[LoggedEvent, ...]
    owned: frozenset[int]
    met: npt.NDArray[np.int64]
    behind: tuple[tuple[int, ...], ...]
    groups: npt.NDArray[np.int64]


STATED_WEIGHT = 2.0
"""What a preference stated with full weight adds to a history: as much as a purchase."""

ITEMS_OF_CATEGORY = 8
"""A liked category stands for this many of its items, the most popular first."""


def history(
    logged: Iterable[LoggedEvent],
    catalogue: Catalogue,
    *,
    recency: Recency | None = None,
    barred: npt.NDArray[np.int64] | None = None,
    examples: Callable[[str], Sequence[int]] = lambda _: (),
    seeds: Collection[int] = (),
) -> History:
    """Build the local history that `decide` may use.

    Args:
        logged: permitted events, oldest first; others must not have been read.
        catalogue: whose order indexes the vectors; items it does not list are left out.
        recency: how much more the new weighs; None for all alike.
        barred: items from which nothing may be inferred, increasing; they count as met or owned
            and speak for nothing.
        examples: items that stand for a category the person said they like.
        seeds: items to start from, as if each had been looked at.
    """
    strongest: dict[int, tuple[float, LoggedEvent]] = {}
    behind: dict[int, list[int]] = {}
    last_seen: dict[int, int] = {}
    looked_s: dict[int, float] = {}
    owned: set[int] = set()
    met: set[int] = set()
    closed = set[int]() if barred is None else set(barred.tolist())

    def add(index: int, weight: float, entry: LoggedEvent) -> None:
        if index in closed:
            return
        held = strongest.get(index)
        if held is None or weight >= held[0]:
            strongest[index] = (weight, entry)
        behind.setdefault(index, []).append(entry.sequence)
        last_seen[index] = entry.sequence

    for index in seeds:
        add(index, 1.0, LoggedEvent(0, _SEED))
    stated: dict[tuple[str, str], tuple[float, LoggedEvent]] = {}
    for entry in logged:
        event = entry.event
        if event.signal == PREFERENCE:
            preference = stated_preference(event)
            if preference is not None:
                kind, name, weight = preference
                stated[kind, name] = (weight, entry)
            continue
        if event.signal == DWELL:
            for item_id in event.items:
                looked_at = catalogue.index(item_id)
                if looked_at is not None:
                    looked_s[looked_at] = looked_s.get(looked_at, 0.0) + (event.value or 0.0)
                    behind.setdefault(looked_at, []).append(entry.sequence)
            continue
        signal_weight = SIGNAL_WEIGHTS.get(event.signal)
        if signal_weight is None:
            continue
        for item_id in event.items:
            found = catalogue.index(item_id)
            if found is None:
                continue
            met.add(found)
            if event.signal == "purchase":
                owned.add(found)
            add(found, signal_weight, entry)
    for (kind, name), (weight, entry) in stated.items():
        if weight <= 0.0:
            continue
        if kind == "category":
            for example in examples(name):
                add(example, STATED_WEIGHT * weight / ITEMS_OF_CATEGORY, entry)
        elif (known := catalogue.index(name)) is not None:
            add(known, STATED_WEIGHT * weight, entry)
    for index, seconds in looked_s.items():
        # What was done with an item says more than how long it was looked at.
        if index in strongest and strongest[index][1].event.signal == "product_view":
            weight, viewed = strongest[index]
            strongest[index] = (weight * view_weight(seconds), viewed)
    items = np.array(sorted(strongest), dtype=np.int64)
    weights = np.array([strongest[int(index)][0] for index in items], dtype=np.float64)
    if recency is not None and len(items):
        seen = np.array([last_seen[int(index)] for index in items], dtype=np.int64)
        alone = np.zeros(len(items), dtype=np.int64)
        weights = recency.reweight(weights, age_ranks(seen, alone), alone)
    events = tuple(strongest[int(index)][1] for index in items)
    return History(
        items=items,
        weights=weights,
        events=events,
        owned=frozenset(owned),
        met=np.array(sorted(met), dtype=np.int64),
        behind=tuple(tuple(behind[int(index)]) for index in items),
        groups=_groups(events),
    )


def _groups(events: Sequence[LoggedEvent]) -> npt.NDArray[np.int64]:
    numbers: dict[tuple[str, int], int] = {}
    groups: list[int] = []
    for entry, logged in enumerate(events):
        stated = logged.event.signal == PREFERENCE
        key = ("stated", logged.sequence) if stated else ("entry", entry)
        groups.append(numbers.setdefault(key, len(numbers)))
    return np.array(groups, dtype=np.int64)


def stated_preference(event: Event) -> tuple[str, str, float] | None:
    """Read (kind, name, weight) of a stated preference; None if the event states none.

    The kind is `category` or `item`, the weight in [0, 1]; of several about the same, the last
    counts, and 0 takes it back.
    """
    kind, name, weight = event.properties.get("kind"), event.properties.get("name"), event.value
    if kind not in ("category", "item") or not isinstance(name, str):
        return None
    if weight is None or not 0.0 <= weight <= 1.0:
        return None
    return str(kind), name, weight


PREFERENCE, DWELL = "preference", "dwell"
_SEED = Event("seed", "seed", (), None, 0)
