"""Data sets: one shape for every source, and one function that recognises the source.

`load(path)` takes a folder or a file:

| path | what is read |
|---|---|
| folder with `u.data` | MovieLens 100K; genres and release decade from `u.item` |
| folder with `ratings.dat` | MovieLens 1M or 10M; genres and decade from `movies.dat` |
| folder with `interactions.csv[.gz]` | plain CSV; titles and categories from `items.csv` if there |
| file `*.csv`, `*.csv.gz` | plain CSV |
| file `u.data`, `*.dat` | the ratings of MovieLens alone, without features |

Plain CSV has a header with `user,item` and optionally `event,value,timestamp`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import (
    SIGNAL_WEIGHTS,
    Profiles,
    build_profiles,
    signal_weights,
)
from tacit.simulations.dataset_files import (
    EventTable,
    ItemTable,
    read_csv_events,
    read_csv_items,
    read_dat_events,
    read_dat_items,
    read_u_data,
    read_u_item,
)
from tacit.simulations.errors import DatasetError
from tacit.simulations.item_features import public_features

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ACCEPTED = "a MovieLens folder, or CSV with the columns user,item[,event,value,timestamp]"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Hold the events of a population and the public catalogue they refer to.

    Attributes:
        name: short name, for tables.
        user_ids: id of each user as it stood in the source.
        item_ids: id of each item of the catalogue, likewise.
        titles: what a person would call each item.
        feature_names: name of each public feature.
        features: `(n_items, n_features)` public item features, or `None` if there are none.
        signal_names: signals of the catalogue that occur.
        users: `(n_events,)` index into `user_ids`.
        items: `(n_events,)` index into `item_ids`.
        signals: `(n_events,)` index into `signal_names`.
        values: `(n_events,)` value of the event, for example a rating; 1 where there is none.
        timestamps: `(n_events,)` seconds, or the position in the source where there are none.
        groups: group each user belongs to, for fairness slices; empty without a users file.
        held_out: `(n_users,)` item that the source itself holds out of each user, -1 for none;
            `None` where it names none.
        notes: what a reader of results should know about how the data was read.
    """

    name: str
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    feature_names: tuple[str, ...]
    features: FloatArray | None
    signal_names: tuple[str, ...]
    users: IntArray
    items: IntArray
    signals: IntArray
    values: FloatArray
    timestamps: FloatArray
    groups: tuple[str, ...] = ()
    held_out: IntArray | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_users(self) -> int:
        """Count the users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Count the items of the catalogue."""
        return len(self.item_ids)

    @property
    def n_interactions(self) -> int:
        """Count the distinct pairs of user and item."""
        return len(np.unique(self.users * self.n_items + self.items))

    def only_events(self, kept: npt.NDArray[np.bool_]) -> Dataset:
        """Keep some events, `(n_events,)`; users, items and catalogue stay as they are."""
        return replace(
            self,
            users=self.users[kept],
            items=self.items[kept],
            signals=self.signals[kept],
            values=self.values[kept],
            timestamps=self.timestamps[kept],
            held_out=None,
        )

    def profiles(self) -> Profiles:
        """Fold all events into profiles, the way a device folds its own."""
        by_signal = signal_weights(self.signal_names, SIGNAL_WEIGHTS)
        return build_profiles(
            self.users,
            self.items,
            by_signal[self.signals],
            n_users=self.n_users,
            n_items=self.n_items,
        )


def load(path: str | Path) -> Dataset:
    """Read a data set.

    Args:
        path: a folder or file, see the table in this module's docstring.

    Raises:
        DatasetError: nothing is there, it cannot be read, or it is malformed; the message is one
            line that says what was expected, what was found and where.
    """
    source = Path(path).expanduser()
    try:
        events, catalogue = _read(source)
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "bad gzip"
        raise DatasetError(f"cannot read {source}: {reason}; expected {_ACCEPTED}") from error
    except csv.Error as error:
        raise DatasetError(f"cannot read {source}: {error}; expected {_ACCEPTED}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"cannot read {source}: it is not text; expected {_ACCEPTED}") from error
    if not events.users:
        raise DatasetError(f"{source} holds no events; expected at least one line of data")
    return _assemble(source, events, catalogue)


def _read(source: Path) -> tuple[EventTable, ItemTable | None]:
    """Recognise the source and read its events and, where there is one, its catalogue."""
    if not source.exists():
        raise DatasetError(f"no such path: {source}; expected {_ACCEPTED}")
    if source.is_dir():
        if (source / "u.data").is_file():
            return read_u_data(source / "u.data"), _optional(source / "u.item", read_u_item)
        if (source / "ratings.dat").is_file():
            events = read_dat_events(source / "ratings.dat")
            return events, _optional(source / "movies.dat", read_dat_items)
        for name in ("interactions.csv", "interactions.csv.gz", "ratings.csv"):
            if (source / name).is_file():
                catalogue = _optional(source / "items.csv", read_csv_items)
                return read_csv_events(source / name), catalogue
        raise DatasetError(
            f"{source} holds no u.data, ratings.dat, ratings.csv or interactions.csv[.gz]; "
            f"expected {_ACCEPTED}"
        )
    if source.name == "u.data":
        return read_u_data(source), None
    if source.suffix == ".dat":
        return read_dat_events(source), None
    if source.name.endswith((".csv", ".csv.gz")):
        return read_csv_events(source), None
    raise DatasetError(f"cannot tell the format of {source}; expected {_ACCEPTED}")


def _optional(path: Path, read: Callable[[Path], ItemTable]) -> ItemTable | None:
    return read(path) if path.is_file() else None


def _assemble(source: Path, events: EventTable, catalogue: ItemTable | None) -> Dataset:
    """Index users and items, and derive public features from the catalogue."""
    user_ids = _ordered(set(events.users))
    if catalogue is None:
        item_ids = _ordered(set(events.items))
        titles: tuple[str, ...] = tuple(f"Item {item_id}" for item_id in item_ids)
        names: tuple[str, ...] = ()
        features = None
    else:
        item_ids, titles = catalogue.item_ids, catalogue.titles
        names, features = public_features(catalogue)
    if len(item_ids) < 2:
        raise DatasetError(f"{source} holds {len(item_ids)} item(s); expected at least 2")
    signal_names = tuple(sorted(set(events.signals)))
    by_user = {user: index for index, user in enumerate(user_ids)}
    by_item = {item: index for index, item in enumerate(item_ids)}
    by_signal = {signal: index for index, signal in enumerate(signal_names)}
    unknown = next((item for item in events.items if item not in by_item), None)
    if unknown is not None:
        raise DatasetError(f"{source}: an event names an item that the catalogue does not list")
    return Dataset(
        name=source.name.removesuffix(".gz").removesuffix(".csv"),
        user_ids=user_ids,
        item_ids=item_ids,
        titles=titles,
        feature_names=names,
        features=features,
        signal_names=signal_names,
        users=np.array([by_user[user] for user in events.users], dtype=np.int64),
        items=np.array([by_item[item] for item in events.items], dtype=np.int64),
        signals=np.array([by_signal[signal] for signal in events.signals], dtype=np.int64),
        values=np.array(events.values, dtype=np.float64),
        timestamps=np.array(events.timestamps, dtype=np.float64),
    )


def _ordered(ids: set[str]) -> tuple[str, ...]:
    """Sort ids as numbers where all are numbers, else as text: independent of event order."""
    if all(identifier.isascii() and identifier.isdigit() for identifier in ids):
        return tuple(sorted(ids, key=int))
    return tuple(sorted(ids))
