"""Data sets: one shape for every source, and one function that recognises the source.

`load(path)` takes a folder or a file:

| path | what is read |
|---|---|
| folder with `u.data` | MovieLens 100K; genres and release decade from `u.item` |
| folder with `ratings.dat` | MovieLens 1M or 10M; genres and decade from `movies.dat` |
| folder with `ratings.csv` and `movies.csv` | MovieLens 20M, 25M, 32M |
| `*.inter`, or a folder with one | RecBole atomic file; features from the `.item` beside it |
| `*.parquet` | the columns of plain CSV |
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
from typing import Literal

import numpy as np
import numpy.typing as npt

from tacit.client.statistics import (
    SIGNAL_WEIGHTS,
    Profiles,
    build_profiles,
    signal_weights,
)
from tacit.simulations.columnar_files import (
    LARGE_BYTES,
    EventColumns,
    from_table,
    read_inter,
    read_large_csv,
    read_parquet,
)
from tacit.simulations.dataset_files import (
    ItemTable,
    read_csv_events,
    read_csv_items,
    read_dat_events,
    read_dat_items,
    read_item_file,
    read_movies_csv,
    read_u_data,
    read_u_item,
    read_user_groups,
)
from tacit.simulations.errors import DatasetError
from tacit.simulations.item_features import public_features

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

TimeKind = Literal["clock", "sequence", "lines"]

_ACCEPTED = (
    "a MovieLens folder, a RecBole .inter file, or CSV or Parquet with the columns "
    "user,item[,event,value,timestamp]"
)


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
        times: what `timestamps` are: one clock for all, each user's own sequence, or merely the
            lines of a source without times.
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
    times: TimeKind = "clock"
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
        groups, order = _user_groups(source), _sequence(source)
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "bad gzip"
        raise DatasetError(f"cannot read {source}: {reason}; expected {_ACCEPTED}") from error
    except csv.Error as error:
        raise DatasetError(f"cannot read {source}: {error}; expected {_ACCEPTED}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"cannot read {source}: it is not text; expected {_ACCEPTED}") from error
    if not len(events.users):
        raise DatasetError(f"{source} holds no events; expected at least one line of data")
    dataset = _assemble(source, events, catalogue, groups)
    return dataset if order is None else _in_order(dataset, *order)


def _read(source: Path) -> tuple[EventColumns, ItemTable | None]:
    """Recognise the source and read its events and, where there is one, its catalogue."""
    if not source.exists():
        raise DatasetError(f"no such path: {source}; expected {_ACCEPTED}")
    if source.is_dir():
        return _read_folder(source)
    if source.name == "u.data":
        return from_table(read_u_data(source)), None
    if source.suffix == ".dat":
        return from_table(read_dat_events(source)), None
    if source.suffix == ".inter":
        return read_inter(source), _optional(source.with_suffix(".item"), read_item_file)
    if source.suffix == ".parquet":
        return read_parquet(source), None
    if source.name.endswith((".csv", ".csv.gz")):
        return _read_csv(source), None
    raise DatasetError(f"cannot tell the format of {source}; expected {_ACCEPTED}")


def _read_folder(source: Path) -> tuple[EventColumns, ItemTable | None]:
    if (source / "u.data").is_file():
        events = from_table(read_u_data(source / "u.data"))
        return events, _optional(source / "u.item", read_u_item)
    if (source / "ratings.dat").is_file():
        events = from_table(read_dat_events(source / "ratings.dat"))
        return events, _optional(source / "movies.dat", read_dat_items)
    if (source / "ratings.csv").is_file() and (source / "movies.csv").is_file():
        return _read_csv(source / "ratings.csv"), read_movies_csv(source / "movies.csv")
    for name in ("interactions.csv", "interactions.csv.gz", "ratings.csv"):
        if (source / name).is_file():
            return _read_csv(source / name), _optional(source / "items.csv", read_csv_items)
    if (source / "interactions.parquet").is_file():
        events = read_parquet(source / "interactions.parquet")
        return events, _optional(source / "items.csv", read_csv_items)
    atomic = sorted(source.glob("*.inter"))
    if atomic:
        return read_inter(atomic[0]), _optional(atomic[0].with_suffix(".item"), read_item_file)
    raise DatasetError(
        f"{source} holds no u.data, ratings.dat, ratings.csv, interactions.csv[.gz], "
        f"interactions.parquet or *.inter; expected {_ACCEPTED}"
    )


def _read_csv(path: Path) -> EventColumns:
    if path.suffix == ".csv" and path.stat().st_size >= LARGE_BYTES:
        events = read_large_csv(path)
        if events is not None:
            return events
    return from_table(read_csv_events(path))


def _optional(path: Path, read: Callable[[Path], ItemTable]) -> ItemTable | None:
    return read(path) if path.is_file() else None


def _user_groups(source: Path) -> dict[str, str]:
    """Read the gender of users where a users file beside the events gives one."""
    if (source / "u.user").is_file():
        return read_user_groups(source / "u.user", "|", 0, 2)
    if (source / "users.csv").is_file():
        rows = read_user_groups(source / "users.csv", ",", 0, 1)
        header = next(iter(rows.items()), ("", ""))
        return dict(list(rows.items())[1:]) if header == ("user", "gender") else {}
    return {}


def _sequence(source: Path) -> tuple[EventColumns, EventColumns | None] | None:
    """Read the time order that ML-1M's folder keeps beside its pairs, and its held-out items."""
    if not (source / "sequence.csv.gz").is_file():
        return None
    held_out = source / "leave_one_out.csv"
    held = from_table(read_csv_events(held_out)) if held_out.is_file() else None
    return from_table(read_csv_events(source / "sequence.csv.gz")), held


def _in_order(dataset: Dataset, order: EventColumns, held: EventColumns | None) -> Dataset:
    """Give events their place in time; those without one count as the oldest of their user."""
    keys, places = _pair_keys(dataset, order)
    where = np.argsort(keys)
    mine = dataset.users * dataset.n_items + dataset.items
    at = np.minimum(np.searchsorted(keys[where], mine), len(keys) - 1)
    known = keys[where][at] == mine
    timestamps = np.where(known, places[where][at] + 1.0, 0.0)
    held_out = None
    if held is not None:
        pairs, _ = _pair_keys(dataset, held)
        held_out = np.full(dataset.n_users, -1, dtype=np.int64)
        held_out[pairs // dataset.n_items] = pairs % dataset.n_items
    note = (
        f"times are places in each user's own sequence; {int(np.sum(~known)):,} events without "
        "one count as the oldest"
    )
    return replace(
        dataset,
        timestamps=timestamps,
        times="sequence",
        held_out=held_out,
        notes=(*dataset.notes, note),
    )


def _pair_keys(dataset: Dataset, events: EventColumns) -> tuple[IntArray, FloatArray]:
    """Find the key of each event's user and item in a data set; unknown ones are left out."""
    users = _lookup(dataset.user_ids, events.user_ids)[events.users]
    items = _lookup(dataset.item_ids, events.item_ids)[events.items]
    known = (users >= 0) & (items >= 0)
    return (users * dataset.n_items + items)[known], events.timestamps[known]


def _assemble(
    source: Path, events: EventColumns, catalogue: ItemTable | None, groups: dict[str, str]
) -> Dataset:
    """Index users and items, and derive public features from the catalogue."""
    user_ids = _ordered(set(events.user_ids))
    notes: list[str] = []
    if catalogue is not None:
        missing = _ordered(set(events.item_ids) - set(catalogue.item_ids))
        if missing:
            notes.append(f"{len(missing):,} items with events have no row of features")
            catalogue = catalogue.with_items(missing)
    if catalogue is None:
        item_ids = _ordered(set(events.item_ids))
        titles: tuple[str, ...] = tuple(f"Item {item_id}" for item_id in item_ids)
        names: tuple[str, ...] = ()
        features = None
    else:
        item_ids, titles = catalogue.item_ids, catalogue.titles
        names, features = public_features(catalogue)
    if len(item_ids) < 2:
        raise DatasetError(f"{source} holds {len(item_ids)} item(s); expected at least 2")
    signal_names = tuple(sorted(set(events.signal_names)))
    return Dataset(
        name=source.name.removesuffix(".gz").removesuffix(".csv"),
        user_ids=user_ids,
        item_ids=item_ids,
        titles=titles,
        feature_names=names,
        features=features,
        signal_names=signal_names,
        users=_lookup(user_ids, events.user_ids)[events.users],
        items=_lookup(item_ids, events.item_ids)[events.items],
        signals=_lookup(signal_names, events.signal_names)[events.signals],
        values=events.values,
        timestamps=events.timestamps,
        times="clock" if events.timed else "lines",
        groups=tuple(groups.get(user, "") for user in user_ids) if groups else (),
        notes=tuple(notes),
    )


def _lookup(ids: tuple[str, ...], wanted: tuple[str, ...]) -> IntArray:
    """Find the index of each wanted id, -1 for an unknown one."""
    index = {identifier: position for position, identifier in enumerate(ids)}
    return np.array([index.get(identifier, -1) for identifier in wanted], dtype=np.int64)


def _ordered(ids: set[str]) -> tuple[str, ...]:
    """Sort ids as numbers where all are numbers, else as text: independent of event order."""
    if all(identifier.isascii() and identifier.isdigit() for identifier in ids):
        return tuple(sorted(ids, key=int))
    return tuple(sorted(ids))
