"""Baselines that see raw data in one place: what privacy has to be measured against.

Hyper-parameters are rules of public sizes, fixed on MovieLens (values in `docs/learning.md`).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from tacit.client.statistics import Profiles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.splits import Split
from tacit.simulations.trained import FloatArray, OnProgress, Scorer

EASE_MOST_ITEMS = 20_000
"""EASE inverts a dense matrix of items by items: above this it does not fit a laptop."""

_BATCH_USERS = 256
_IALS_EPOCHS = 10
_IALS_UNOBSERVED = 0.1
_IALS_REGULARIZATION = 0.02


def count_scorer(split: Split) -> Scorer:
    """Score with exact item counts: the floor."""
    counts = np.bincount(split.cohort.items, minlength=split.cohort.n_items).astype(np.float64)

    def scorer(profiles: Profiles) -> FloatArray:
        return np.tile(counts, (profiles.n_users, 1))

    return scorer


def ease_scorer(split: Split) -> Scorer:
    """Fit EASE (Steck 2019, Embarrassingly Shallow Autoencoders, arXiv:1905.03375, eq. 8).

    The regularisation is `6.5 sqrt(n_users)`: 200 for 943 users, 505 for 6,040.

    Raises:
        BadExperiment: the catalogue is too large.
    """
    cohort = split.cohort
    if cohort.n_items > EASE_MOST_ITEMS:
        raise BadExperiment(
            f"EASE: expected at most {EASE_MOST_ITEMS:,} items, got {cohort.n_items:,}"
        )
    rows = _matrix(cohort)
    gram = np.asarray((rows.T @ rows).todense(), dtype=np.float64)
    gram[np.diag_indices_from(gram)] += 6.5 * math.sqrt(cohort.n_users)
    precision = np.linalg.inv(gram)
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0.0)

    def scorer(profiles: Profiles) -> FloatArray:
        return np.asarray(_matrix(profiles) @ weights, dtype=np.float64)

    return scorer


def ials_scorer(split: Split, width: int = 192, on_progress: OnProgress | None = None) -> Scorer:
    """Fit implicit alternating least squares; our own implementation.

    The objective of Hu, Koren and Volinsky 2008 in the form of Rendle, Krichene, Zhang and Koren
    2022 (Revisiting the Performance of iALS, arXiv:2110.14037, eqs. 2 to 4, exponent nu = 1):
    observed entries weigh their strength, every entry `0.1` besides, and each embedding is
    regularised by `0.02 (observed + 0.1 others)`. Embeddings start from a fixed public seed.

    Args:
        split: trained on its cohort.
        width: dimensions; at most a third of the users and of the items.
        on_progress: told the share of epochs done.
    """
    cohort = split.cohort
    width = max(1, min(width, cohort.n_users // 3, cohort.n_items // 3))
    rng = np.random.default_rng(0)
    items = rng.normal(0.0, 0.1 / math.sqrt(width), (cohort.n_items, width))
    by_user = _matrix(cohort).tocsr()
    by_item = by_user.T.tocsr()
    for epoch in range(_IALS_EPOCHS):
        users = _solve(by_user, items)
        items = _solve(by_item, users)
        if on_progress is not None:
            on_progress((epoch + 1) / _IALS_EPOCHS)

    def scorer(profiles: Profiles) -> FloatArray:
        return np.asarray(_solve(_matrix(profiles).tocsr(), items) @ items.T, dtype=np.float64)

    return scorer


def _solve(rows: sparse.csr_array, other: FloatArray) -> FloatArray:
    """Solve the regularised least squares of every row, given the other side's embeddings."""
    width = other.shape[1]
    gram = _IALS_UNOBSERVED * (other.T @ other)
    n_rows = rows.shape[0]
    solved = np.zeros((n_rows, width))
    indptr, indices, data = rows.indptr, rows.indices, rows.data
    for start in range(0, n_rows, _BATCH_USERS):
        stop = min(start + _BATCH_USERS, n_rows)
        left = np.empty((stop - start, width, width))
        right = np.empty((stop - start, width))
        for row in range(start, stop):
            mine = slice(int(indptr[row]), int(indptr[row + 1]))
            embedded = other[indices[mine]]
            weighted = embedded * data[mine][:, np.newaxis]
            left[row - start] = gram + embedded.T @ weighted
            right[row - start] = weighted.sum(axis=0)
        observed = np.diff(indptr[start : stop + 1])
        ridge = _IALS_REGULARIZATION * (observed + _IALS_UNOBSERVED * len(other))
        left[:, np.arange(width), np.arange(width)] += ridge[:, np.newaxis]
        solved[start:stop] = np.linalg.solve(left, right[:, :, np.newaxis])[:, :, 0]
    return solved


def _matrix(profiles: Profiles) -> sparse.csr_array:
    shape = (profiles.n_users, profiles.n_items)
    return sparse.csr_array((profiles.weights, profiles.items, profiles.indptr), shape=shape)
