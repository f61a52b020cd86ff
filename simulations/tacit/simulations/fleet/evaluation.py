"""How good the devices' own recommendations are, against popularity, on events they never saw.

This is demo evaluation: held-out events exist only because the demo kept them back. A deployment
has no such list, and no such figure leaves a device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DEPTH = 100


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over devices with held-out items; definitions as in `tacit.simulations.metrics`.

    Attributes:
        recall_20: recall at 20, over min(20, held-out items).
        ndcg_100: NDCG at 100.
        devices: devices evaluated.
    """

    recall_20: float
    ndcg_100: float
    devices: int


def quality(ranked: Iterable[tuple[Sequence[int], npt.NDArray[np.int64]]]) -> Quality:
    """Score ranked lists.

    Args:
        ranked: per device, its ranked item indices (best first, without items it holds) and its
            held-out items; devices without held-out items are left out.
    """
    discounts = 1.0 / np.log2(np.arange(DEPTH) + 2.0)
    recalls: list[float] = []
    gains: list[float] = []
    for items, held_out in ranked:
        if len(held_out) == 0:
            continue
        hits = np.isin(np.asarray(items[:DEPTH], dtype=np.int64), held_out).astype(np.float64)
        recalls.append(float(hits[:20].sum()) / min(20, len(held_out)))
        ideal = float(discounts[: min(DEPTH, len(held_out))].sum())
        gains.append(float(hits @ discounts[: len(hits)]) / ideal)
    if not recalls:
        return Quality(0.0, 0.0, 0)
    return Quality(float(np.mean(recalls)), float(np.mean(gains)), len(recalls))


def popularity_ranking(
    counts: npt.NDArray[np.int64], held: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Rank by how many devices hold an item, exactly counted; items the device holds are left out.

    The counts are not private: this is the strongest popularity there is, not ours.
    """
    order = np.argsort(-counts, kind="stable")
    return order[~np.isin(order, held)][:DEPTH]
