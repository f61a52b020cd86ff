"""Public item features: categories and decade, as indicators a learner can use."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tacit.simulations.dataset_files import ItemTable

_MOST_CATEGORIES = 64


def public_features(catalogue: ItemTable) -> tuple[tuple[str, ...], npt.NDArray[np.float64] | None]:
    """Turn a catalogue into one indicator per category and per decade.

    Only the 64 most frequent categories are kept (by count, then name): the cost of the feature
    round grows with their square. They come from the public catalogue, so the choice is free.

    Returns:
        Names and `(n_items, n_features)` of zeros and ones, or `((), None)` without any.
    """
    counts: dict[str, int] = {}
    for names in catalogue.categories:
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[:_MOST_CATEGORIES]
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for category in sorted(frequent):
        hits = [category in names for names in catalogue.categories]
        columns[category] = np.array(hits, dtype=np.float64)
    if any(catalogue.years):
        decades = [year // 10 * 10 for year in catalogue.years]
        for decade in sorted(set(decades)):
            label = f"{decade}s" if decade else "undated"
            columns[label] = np.array([got == decade for got in decades], dtype=np.float64)
    if not columns:
        return (), None
    return tuple(columns), np.column_stack(list(columns.values()))
