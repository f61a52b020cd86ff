"""The best items of a scan, without sorting it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
RealArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

_BLOCK = 64


def best(values: RealArray, allowed: BoolArray, count: int) -> IntArray:
    """Return the best allowed items, best first, equals in catalogue order.

    The order does not depend on how many are asked for, so an answer does not flicker.
    """
    places = _contenders(values, allowed, count)
    kept = values[places]
    if len(places) > 4 * count:
        # One pass instead of a sort: everything above the last score that counts, then its equals.
        least = np.partition(kept, len(kept) - count)[len(kept) - count]
        above = np.flatnonzero(kept > least)
        equal = np.flatnonzero(kept == least)[: count - len(above)]
        chosen = np.sort(np.concatenate([above, equal]))
        places, kept = places[chosen], kept[chosen]
    return places[np.argsort(-kept, kind="stable")[:count]].astype(np.int64)


def _contenders(values: RealArray, allowed: BoolArray, count: int) -> IntArray:
    """Return allowed items, increasing, among which all of the best `count` are, equals too.

    The best lie in blocks whose maximum is among the `count` greatest maxima, so a large catalogue
    is read once and only a few of its blocks are looked into.
    """
    n_blocks = len(values) // _BLOCK
    if n_blocks <= 4 * count:
        return np.asarray(np.flatnonzero(allowed), dtype=np.int64)
    whole = n_blocks * _BLOCK
    open_ = np.where(allowed[:whole], values[:whole], -np.inf)
    tops = open_.reshape(n_blocks, _BLOCK).max(axis=1)
    blocks = np.flatnonzero(tops >= np.partition(tops, n_blocks - count)[n_blocks - count])
    places = (blocks[:, np.newaxis] * _BLOCK + np.arange(_BLOCK)).ravel()
    places = np.concatenate([places, np.arange(whole, len(values))])
    return np.asarray(places[allowed[places]], dtype=np.int64)
