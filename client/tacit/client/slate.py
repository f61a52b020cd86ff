"""Slates: from scores and a mask to an ordered list, diverse, explored, with propensities.

Pure: randomness comes in as numbers. Each slot is filled from the candidates that are left, the
best `POOL` of what the mask allows. Its greedy choice is the maximal marginal relevance of
Carbonell and Goldstein 1998 ("The use of MMR", SIGIR): relevance, scaled to [0, 1] over the pool,
less similarity to what is above it. With probability `rate` the slot is instead drawn evenly from
the candidates left, the greedy one among them. So, given the slots above it, an item has propensity

    (1 - rate) [it is the greedy choice] + rate / (candidates left),

which sums to 1 over the candidates left, and inverse-propensity estimates from the log are unbiased
for policies over the same pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client.decide.top import best
from tacit.client.errors import BadEvent

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
RealArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

POOL = 200
"""Candidates considered; three times the slots if that is more."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """How often a slot is drawn evenly from the candidates; `rate` in [0, 1)."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        """Check the rate.

        Raises:
            BadEvent: if it is out of range.
        """
        if not 0.0 <= self.rate < 1.0:
            raise BadEvent(f"exploration: expected a rate in [0, 1), got {self.rate}")


@dataclass(frozen=True, slots=True)
class Slate:
    """An ordered list.

    Attributes:
        items: `(n,)` catalogue indices, first slot first.
        propensities: `(n,)` in (0, 1], given the slots above.
        explored: `(n,)` whether chance chose.
        promoted: `(n,)` whether the app's promotion did.
    """

    items: IntArray
    propensities: FloatArray
    explored: BoolArray
    promoted: BoolArray


def system_uniforms(count: int) -> FloatArray:
    """Draw numbers from [0, 1) with 53 bits each from the operating system."""
    words = np.frombuffer(os.urandom(8 * count), dtype="<u8") >> np.uint64(11)
    return np.asarray(words * 2.0**-53, dtype=np.float64)


def fill(
    values: RealArray,
    mask: BoolArray,
    k: int,
    *,
    vectors: Callable[[IntArray], FloatArray],
    diversity: float,
    exploration: Exploration | None,
    uniforms: Callable[[int], FloatArray],
    promoted: IntArray | None = None,
    serendipity: float = 0.0,
    unexpected: Callable[[IntArray], FloatArray] | None = None,
) -> Slate:
    """Fill up to `k` slots.

    Post-condition: no item of `mask` is in the slate, and no item twice.

    Args:
        values: `(n_items,)` scores.
        mask: `(n_items,)` True where an item must not be shown.
        k: slots.
        vectors: items → `(n, d)` rows whose cosines say how alike they are.
        diversity: from 0, scores alone, to 1, difference alone.
        exploration: None explores nothing.
        uniforms: draws numbers from [0, 1).
        promoted: items that take the first slots if the mask allows them, in this order; at most
            half of the slots, so that promotion never is the whole answer. Not explored.
        serendipity: from 0, what is expected counts like the rest, to 1, it counts nothing. Worth
            is relevance times unexpectedness (Vargas and Castells 2011, "Rank and relevance in
            novelty and diversity metrics", RecSys), so what is irrelevant is not lifted.
        unexpected: items → `(n,)` in [0, 1], 1 for what is unlike all that the person knows.

    Raises:
        BadEvent: if `diversity` or `serendipity` is not in [0, 1].
    """
    if not 0.0 <= serendipity <= 1.0:
        raise BadEvent(f"serendipity: expected a number in [0, 1], got {serendipity}")
    if not 0.0 <= diversity <= 1.0:
        raise BadEvent(f"diversity: expected a number in [0, 1], got {diversity}")
    pool = best(values, ~mask, max(POOL, 3 * k))
    first = np.empty(0, dtype=np.int64)
    if promoted is not None and len(promoted):
        first = promoted[~mask[promoted]][: max(1, k // 2) if k > 1 else 0]
        pool = np.concatenate([first, pool[~np.isin(pool, first)]])
    slots = min(k, len(pool))
    rate = 0.0 if exploration is None else exploration.rate
    drawn = uniforms(2 * slots) if rate > 0.0 else np.ones(2 * slots)
    relevance = _scaled(values[pool].astype(np.float64))
    if unexpected is not None and serendipity > 0.0:
        relevance = relevance * (1.0 - serendipity + serendipity * unexpected(pool))
    units = _units(vectors(pool)) if diversity > 0.0 and slots > 1 else None
    alike = np.zeros(len(pool))
    left = np.ones(len(pool), dtype=np.bool_)
    chosen = np.empty(slots, dtype=np.int64)
    propensities = np.ones(slots)
    explored = np.zeros(slots, dtype=np.bool_)
    for slot in range(slots):
        if slot < len(first):
            place = slot
        else:
            worth = (
                relevance if units is None else (1.0 - diversity) * relevance - diversity * alike
            )
            place = int(np.argmax(np.where(left, worth, -np.inf)))
            count = int(left.sum())
            greedy = place
            if drawn[2 * slot] < rate:
                explored[slot] = True
                place = int(np.flatnonzero(left)[min(int(drawn[2 * slot + 1] * count), count - 1)])
            propensities[slot] = (1.0 - rate) * (place == greedy) + rate / count
        chosen[slot] = place
        left[place] = False
        if units is not None:
            alike = np.maximum(alike, units @ units[place])
    return Slate(pool[chosen], propensities, explored, np.arange(slots) < len(first))


def unlike(rows: FloatArray, known: FloatArray) -> FloatArray:
    """Return `1 - cosine` with the most alike of what is known, in [0, 1]; 1 if nothing is.

    Args:
        rows: `(n, d)`.
        known: `(m, d)`.
    """
    if len(known) == 0:
        return np.ones(len(rows))
    nearest = (_units(rows) @ _units(known).T).max(axis=1)
    return np.asarray(1.0 - np.clip(nearest, 0.0, 1.0))


def _scaled(values: FloatArray) -> FloatArray:
    if len(values) == 0:
        return values
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low) if high > low else np.ones(len(values)))


def _units(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0.0, lengths, 1.0), dtype=np.float64)
