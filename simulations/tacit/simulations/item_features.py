"""Public item features: categories, year and words of the title, as memberships from 0 to 1."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from tacit.server.coordinator.learners import soft_bins
from tacit.simulations.dataset_files import ItemTable

FloatArray = npt.NDArray[np.float64]

_MOST_CATEGORIES = 64
_MOST_YEAR_KNOTS = 14
_MOST_WORDS = 500
_FEWEST_ITEMS_OF_A_WORD = 3
_COMMONEST_WORD = 0.05  # of the items: what more have is grammar, not meaning

_YEAR, _WORD = "year ~", "title: "


def public_features(catalogue: ItemTable) -> tuple[tuple[str, ...], FloatArray | None]:
    """Turn a catalogue into memberships of categories, eras and title words.

    All of it comes from the public catalogue and costs no budget.

    - one indicator per category, the 64 most frequent;
    - the year as soft bins (hat functions) between at most 14 knots with equally many items, and
      one indicator for items without a year;
    - one indicator per word that at least 3 items and at most 5% of them share, 500 at most. Words
      tie sequels and brands together.

    Returns:
        Names and `(n_items, n_features)`, or `((), None)` without any.
    """
    columns: dict[str, FloatArray] = {}
    columns.update(_indicators([set(names) for names in catalogue.categories], _MOST_CATEGORIES))
    columns.update(_eras(np.array(catalogue.years, dtype=np.float64)))
    words = [_words(title) for title in catalogue.titles]
    counts = _indicators(words, _MOST_WORDS, _FEWEST_ITEMS_OF_A_WORD, _COMMONEST_WORD * len(words))
    columns.update({_WORD + word: column for word, column in counts.items()})
    if not columns:
        return (), None
    return tuple(columns), np.column_stack(list(columns.values()))


def is_category(name: str) -> bool:
    """Tell a category a person would recognise from an era or a title word."""
    return not name.startswith((_YEAR, _WORD))


def _indicators(
    labels: list[set[str]], most: int, fewest: int = 1, commonest: float = np.inf
) -> dict[str, FloatArray]:
    """Make a column per frequent label (by count, then name), in the order of names."""
    items: dict[str, list[int]] = {}
    for item, names in enumerate(labels):
        for name in names:
            items.setdefault(name, []).append(item)
    usable = [name for name, found in items.items() if fewest <= len(found) <= commonest]
    frequent = sorted(usable, key=lambda name: (-len(items[name]), name))[:most]
    columns: dict[str, FloatArray] = {}
    for name in sorted(frequent):
        columns[name] = np.zeros(len(labels))
        columns[name][items[name]] = 1.0
    return columns


def _eras(years: FloatArray) -> dict[str, FloatArray]:
    """Spread known years over soft bins; 0 is an unknown year."""
    known = years > 0
    if not known.any():
        return {}
    knots = np.unique(
        np.quantile(years[known], np.linspace(0.0, 1.0, _MOST_YEAR_KNOTS), method="nearest")
    )
    hats = np.where(known[:, np.newaxis], soft_bins(years, knots), 0.0)
    columns = {f"{_YEAR}{knot:.0f}": hats[:, place] for place, knot in enumerate(knots.tolist())}
    if not known.all():
        columns[f"{_YEAR}unknown"] = (~known).astype(np.float64)
    return columns


def _words(title: str) -> set[str]:
    """Split a title into words, its trailing year left out."""
    return set(re.findall(r"[^\W_]+", re.sub(r"\(\d{4}\)\s*$", "", title).lower()))
