"""The learners `tacit simulate` knows, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tacit.simulations.datasets import Dataset
from tacit.simulations.federated import (
    train_factorization,
    train_popularity,
    train_spectral,
)
from tacit.simulations.splits import Split
from tacit.simulations.trained import OnProgress, Trained, TrainingOptions

Learn = Callable[[Split, Dataset, TrainingOptions, OnProgress | None], Trained]
"""Trains on `split.cohort` and the public catalogue of the data set, and on nothing else.

What it is called with holds no held-out event: the split's test part is empty, and the data set
has been stripped of what is not in the training part.
"""


# The modules behind these two import torch: only when called, so that `--help` stays quick.
def _train_with_opacus(
    split: Split, dataset: Dataset, options: TrainingOptions, on_progress: OnProgress | None
) -> Trained:
    from tacit.simulations.factorization.training import train_with_opacus

    return train_with_opacus(split, dataset, options, on_progress)


def _train_with_local_noise(
    split: Split, dataset: Dataset, options: TrainingOptions, on_progress: OnProgress | None
) -> Trained:
    from tacit.simulations.factorization.local_training import train_with_local_noise

    return train_with_local_noise(split, dataset, options, on_progress)


LEARNERS: Mapping[str, Learn] = MappingProxyType(
    {
        "spectral": train_spectral,
        "factorization": train_factorization,
        "factorization-opacus": _train_with_opacus,
        "factorization-local": _train_with_local_noise,
        "popularity": train_popularity,
    }
)
"""Name → function; the first is the default.

`linear` predicts instead of ranking and has a report of its own (`tacit.cli._simulate_target`).
"""

LEARNERS_OF_EVERY_LEVEL = ("spectral", "factorization", "popularity")
"""Learners of noised sums, to which it is all one who noised them. The other two draw noise of
their own while they train."""
