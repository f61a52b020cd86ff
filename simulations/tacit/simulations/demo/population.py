"""The demo's people: what each device holds, what is held out, who refuses what.

Held-out events never reach a device. They exist to show what was learned, and are no part of the
protocol: a real deployment has no such list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.client import Catalogue, CatalogueItem
from tacit.client.statistics import SIGNAL_WEIGHTS, signal_weights
from tacit.simulations.datasets import Dataset, load
from tacit.simulations.demo.options import DEFAULT_DEVICES, DemoOptions
from tacit.simulations.demo.scenario import Role, cast_roles
from tacit.simulations.errors import BadExperiment
from tacit.simulations.item_features import is_category
from tacit.simulations.population import generate
from tacit.simulations.splits import per_user_split

_MAX_CATEGORIES = 8


@dataclass(frozen=True, slots=True)
class DeviceEvents:
    """The events one device holds, oldest first.

    Attributes:
        signals: signal names.
        items: item indices.
        values: value of each event.
        timestamps_ms: Unix milliseconds.
    """

    signals: tuple[str, ...]
    items: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    timestamps_ms: npt.NDArray[np.int64]

    def rows(self) -> Iterator[tuple[str, int, float, int]]:
        """Yield (signal, item index, value, Unix milliseconds), oldest first."""
        for position, signal in enumerate(self.signals):
            yield (
                signal,
                int(self.items[position]),
                float(self.values[position]),
                int(self.timestamps_ms[position]),
            )


@dataclass(frozen=True, slots=True)
class DemoPopulation:
    """Everybody in the demo.

    Attributes:
        dataset: the source; only the chosen users become devices.
        catalogue: the public list of items.
        users: index of each device's user in the data set.
        roles: what each device does.
        held_out: per device, item indices that were kept from it.
        train_counts: `(n_items,)` how many devices hold each item: the popularity to beat.
    """

    dataset: Dataset
    catalogue: Catalogue
    users: npt.NDArray[np.int64]
    roles: tuple[Role, ...]
    held_out: tuple[npt.NDArray[np.int64], ...]
    train_counts: npt.NDArray[np.int64]

    @property
    def newest_ms(self) -> int:
        """Unix milliseconds of the newest event of the data set."""
        return int(self.dataset.timestamps.max() * 1000)

    def events(self, device: int) -> DeviceEvents:
        """Return what a device holds: its user's events, less those on held-out items."""
        data = self.dataset
        mine = data.users == self.users[device]
        mine &= ~np.isin(data.items, self.held_out[device])
        order = np.flatnonzero(mine)
        order = order[np.argsort(data.timestamps[order], kind="stable")]
        return DeviceEvents(
            signals=tuple(data.signal_names[int(s)] for s in data.signals[order].tolist()),
            items=data.items[order],
            values=data.values[order],
            timestamps_ms=(data.timestamps[order] * 1000).astype(np.int64),
        )

    def task_signals(self) -> dict[str, float]:
        """Return the signals a task asks for, with the weight of each."""
        names = self.dataset.signal_names
        weights = signal_weights(names, SIGNAL_WEIGHTS)
        return {name: float(weight) for name, weight in zip(names, weights, strict=True)}


def demo_population(options: DemoOptions) -> DemoPopulation:
    """Load or generate the population that the options name; the same options, the same people.

    Raises:
        DatasetError: if `--data` cannot be read.
        BadExperiment: if the data set has too few users.
    """
    limit = options.device_limit()
    if options.data:
        dataset = load(options.data)
    else:
        dataset = generate(n_users=limit or DEFAULT_DEVICES, seed=options.seed)
    users = np.arange(dataset.n_users)
    if limit is not None and limit < dataset.n_users:
        users = np.sort(np.random.default_rng(options.seed).permutation(users)[:limit])
    elif limit is not None and limit > dataset.n_users:
        raise BadExperiment(
            f"--devices: expected at most the {dataset.n_users} users of the data, got {limit}"
        )
    split = per_user_split(dataset.profiles())
    test, train = split.test, split.train
    held_out = tuple(test.items[test.indptr[u] : test.indptr[u + 1]] for u in users)
    counts = np.zeros(dataset.n_items, dtype=np.int64)
    for user in users:
        counts[train.items[train.indptr[user] : train.indptr[user + 1]]] += 1
    return DemoPopulation(
        dataset=dataset,
        catalogue=catalogue_of(dataset),
        users=users,
        roles=cast_roles(len(users), dataset.signal_names, options.seed),
        held_out=held_out,
        train_counts=counts,
    )


def catalogue_of(dataset: Dataset) -> Catalogue:
    """Return the public catalogue of a data set, items in its order."""
    categories: list[tuple[str, ...]] = [()] * dataset.n_items
    shown = [f for f, name in enumerate(dataset.feature_names) if is_category(name)]
    if dataset.features is not None and shown:
        memberships = dataset.features[:, shown]
        for item in range(dataset.n_items):
            strongest = np.argsort(-memberships[item], kind="stable")[:_MAX_CATEGORIES]
            categories[item] = tuple(
                dataset.feature_names[shown[f]]
                for f in map(int, strongest)
                if memberships[item, f] > 0
            )
    return Catalogue(
        tuple(
            CatalogueItem(item_id, title, category)
            for item_id, title, category in zip(
                dataset.item_ids, dataset.titles, categories, strict=True
            )
        )
    )
