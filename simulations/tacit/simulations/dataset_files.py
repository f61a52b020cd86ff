"""Read the file formats that data sets come in, line by line, into plain tables."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from tacit.privacy.errors import BadDocument
from tacit.privacy.signals import signal_of_event
from tacit.simulations.errors import DatasetError

_ALIASES = {
    "user": ("user", "user_id", "userid", "visitorid"),
    "item": ("item", "item_id", "itemid", "movieid", "product_id"),
    "event": ("event", "event_type", "signal"),
    "value": ("value", "rating"),
    "timestamp": ("timestamp", "ts", "time"),
}
_RATING, _VIEW = "rating", "product_view"
_LATEST_S = 1e11  # the year 5138 in seconds, 1973 in milliseconds


@dataclass(frozen=True, slots=True)
class EventTable:
    """Hold events as parallel lists, ids still as text; `timed` says whether there are times."""

    users: list[str] = field(default_factory=list[str])
    items: list[str] = field(default_factory=list[str])
    signals: list[str] = field(default_factory=list[str])
    values: list[float] = field(default_factory=list[float])
    timestamps: list[float] = field(default_factory=list[float])
    timed: bool = True


@dataclass(frozen=True, slots=True)
class ItemTable:
    """Hold a public catalogue; `years` are 0 where unknown."""

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    years: tuple[int, ...]

    def with_items(self, missing: Sequence[str]) -> ItemTable:
        """Add items that have no row of features."""
        return ItemTable(
            (*self.item_ids, *missing),
            (*self.titles, *(f"Item {item_id}" for item_id in missing)),
            (*self.categories, *(() for _ in missing)),
            (*self.years, *(0 for _ in missing)),
        )


def read_csv_events(path: Path) -> EventTable:
    """Read a CSV with a header that names at least a user and an item column.

    Raises:
        DatasetError: a column is missing, a line is short, a number does not parse or an event
            name is unknown.
    """
    with _open(path) as handle:
        rows = csv.reader(handle)
        columns = _columns(path, next(rows, list[str]()))
        table = EventTable(timed="timestamp" in columns)
        user, item = columns["user"], columns["item"]
        event, value, when = (columns.get(name) for name in ("event", "value", "timestamp"))
        default = _VIEW if value is None else _RATING
        known: dict[str, str] = {}
        width = max(columns.values()) + 1
        for number, row in enumerate(rows, start=2):
            if not row:
                continue  # an empty line
            if len(row) < width:
                raise DatasetError(
                    f"{path}, line {number}: expected {width} columns, got {len(row)}"
                )
            signal = default
            if event is not None:
                signal = known.get(row[event]) or _signal(path, number, row[event])
                known[row[event]] = signal
            if not (row[user] and row[item]):
                raise DatasetError(f"{path}, line {number}: expected a user and an item, got none")
            table.users.append(row[user])
            table.items.append(row[item])
            table.signals.append(signal)
            table.values.append(1.0 if value is None else _number(path, number, row[value]))
            stamp = float(number) if when is None else _seconds(path, number, row[when])
            table.timestamps.append(stamp)
    return table


def read_u_data(path: Path) -> EventTable:
    """Read MovieLens 100K ratings: `user item rating timestamp`, separated by tabs."""
    return _ratings(path, "\t")


def read_dat_events(path: Path) -> EventTable:
    """Read MovieLens 1M or 10M ratings: `user::item::rating::timestamp`."""
    return _ratings(path, "::")


def read_csv_items(path: Path) -> ItemTable:
    """Read a catalogue with the columns `item` and optionally `title` and `categories`.

    Raises:
        DatasetError: there is no item column, or a line is short.
    """
    with _open(path) as handle:
        rows = csv.reader(handle)
        header = [name.strip().lower() for name in next(rows, list[str]())]
        if "item" not in header:
            got = ",".join(header)[:80]
            raise DatasetError(f"{path}: expected a header with the column item, got {got!r}")
        records = list(rows)
    lookup = {
        name: header.index(name) for name in ("item", "title", "categories") if name in header
    }
    for number, row in enumerate(records, start=2):
        if row and len(row) <= max(lookup.values()):
            raise DatasetError(
                f"{path}, line {number}: expected {len(header)} columns, got {len(row)}"
            )
    records = [row for row in records if row]  # empty lines mean nothing
    ids = [row[lookup["item"]] for row in records]
    titles = [row[lookup.get("title", lookup["item"])] for row in records]
    categories = [row[lookup["categories"]] if "categories" in lookup else "" for row in records]
    return _catalogue(path, ids, titles, [text.split("|") for text in categories])


def read_dat_items(path: Path) -> ItemTable:
    """Read `movies.dat`: `item::title (year)::genre|genre`."""
    records = list(_split(path, "::", 3, encoding="latin-1"))
    ids, titles = [row[0] for row in records], [row[1] for row in records]
    return _catalogue(path, ids, titles, [row[2].split("|") for row in records])


def read_u_item(path: Path) -> ItemTable:
    """Read MovieLens 100K items: id, title, dates, and 19 genre flags, separated by `|`."""
    records = list(_split(path, "|", 24, encoding="latin-1"))
    flags = [
        [_GENRES[position] for position, flag in enumerate(row[5:24]) if flag == "1"]
        for row in records
    ]
    return _catalogue(path, [row[0] for row in records], [row[1] for row in records], flags)


_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


def _catalogue(
    path: Path, ids: Sequence[str], titles: Sequence[str], categories: Sequence[Sequence[str]]
) -> ItemTable:
    if "" in ids:
        raise DatasetError(f"{path}: expected an item id in every row, got a row without one")
    if len(set(ids)) != len(ids):
        raise DatasetError(f"{path}: expected each item once, got {len(ids) - len(set(ids))} twice")
    return ItemTable(
        item_ids=tuple(ids),
        titles=tuple(
            title or f"Item {item_id}" for item_id, title in zip(ids, titles, strict=True)
        ),
        categories=tuple(tuple(name for name in names if name) for names in categories),
        years=tuple(_year(title) for title in titles),
    )


def _year(title: str) -> int:
    """Read the year from a title that ends like `Toy Story (1995)`; 0 where there is none."""
    text = title.strip()
    digits = text[-5:-1]
    return int(digits) if text.endswith(")") and digits.isascii() and digits.isdigit() else 0


def _ratings(path: Path, separator: str) -> EventTable:
    table = EventTable()
    for number, row in enumerate(_split(path, separator, 4), start=1):
        table.users.append(row[0])
        table.items.append(row[1])
        table.signals.append(_RATING)
        table.values.append(_number(path, number, row[2]))
        table.timestamps.append(_seconds(path, number, row[3]))
    return table


def _split(path: Path, separator: str, width: int, encoding: str = "utf-8") -> Iterator[list[str]]:
    with path.open(encoding=encoding) as handle:
        for number, line in enumerate(handle, start=1):
            row = line.rstrip("\r\n").split(separator)
            if len(row) < width:
                raise DatasetError(
                    f"{path}, line {number}: expected {width} fields separated by "
                    f"{separator!r}, got {len(row)}"
                )
            yield row


def column_names(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Find the position of each known column in a header.

    Raises:
        DatasetError: there is no user or no item column.
    """
    return _columns(path, header)


def signal_named(name: str) -> str:
    """Return the signal an event name stands for.

    Raises:
        BadDocument: it stands for none.
    """
    return signal_of_event(name).name


def seconds_scale(stamps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn milliseconds into seconds, where numbers are too large for seconds."""
    return np.where(stamps <= _LATEST_S, stamps, stamps / 1000)


def read_movies_csv(path: Path) -> ItemTable:
    """Read `movies.csv` of MovieLens 20M and later: `movieId,title,genres`.

    Raises:
        DatasetError: a column is missing or a line is short.
    """
    with _open(path) as handle:
        rows = csv.reader(handle)
        header = [name.strip().lower() for name in next(rows, list[str]())]
        if header[:3] != ["movieid", "title", "genres"]:
            raise DatasetError(f"{path}: expected the columns movieId,title,genres, got {header}")
        records = list(rows)
    for number, row in enumerate(records, start=2):
        if len(row) < 3:
            raise DatasetError(f"{path}, line {number}: expected 3 columns, got {len(row)}")
    genres = [[] if row[2] == "(no genres listed)" else row[2].split("|") for row in records]
    return _catalogue(path, [row[0] for row in records], [row[1] for row in records], genres)


def read_item_file(path: Path) -> ItemTable:
    """Read a RecBole `.item` file: tab-separated, `token_seq` fields become categories.

    Raises:
        DatasetError: there is no item column, or a line is short.
    """
    with path.open(encoding="utf-8", errors="replace") as handle:
        lines = [line.rstrip("\r\n").split("\t") for line in handle]
    header = [name.split(":") for name in lines[0]] if lines else []
    names = [part[0].lower() for part in header]
    if "item_id" not in names:
        found = ",".join(names)[:80]
        raise DatasetError(f"{path}: expected a header with item_id:token, got {found!r}")
    lists = [at for at, part in enumerate(header) if part[-1] == "token_seq"]
    genre_at = [at for at in lists if names[at] in ("genre", "class", "categories", "category")]
    title_at = next((at for at, name in enumerate(names) if "title" in name), None)
    for number, row in enumerate(lines[1:], start=2):
        if row != [""] and len(row) < len(header):
            raise DatasetError(
                f"{path}, line {number}: expected {len(header)} columns, got {len(row)}"
            )
    rows = [row for row in lines[1:] if row != [""]]  # empty lines mean nothing
    ids = [row[names.index("item_id")] for row in rows]
    titles = ids if title_at is None else [row[title_at] for row in rows]
    split = [[word for at in genre_at for word in row[at].split(" ")] for row in rows]
    return _catalogue(path, ids, titles, split)


def read_user_groups(path: Path, separator: str, user: int, group: int) -> dict[str, str]:
    """Read one group label per user; for fairness slices only, never for learning.

    Raises:
        DatasetError: a line is short.
    """
    return {row[user]: row[group] for row in _split(path, separator, group + 1)}


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().lstrip("\ufeff").lower() for name in header]
    found: dict[str, int] = {}
    for name, aliases in _ALIASES.items():
        position = next((names.index(alias) for alias in aliases if alias in names), None)
        if position is not None:
            found[name] = position
    if "user" not in found or "item" not in found:
        raise DatasetError(
            f"{path}: expected a header with the columns user and item, "
            f"got {','.join(names)[:80]!r}"
        )
    return found


def _signal(path: Path, number: int, name: str) -> str:
    try:
        return signal_of_event(name).name
    except BadDocument as error:
        raise DatasetError(
            f"{path}, line {number}: expected a known event such as Product Viewed, got {name!r}"
        ) from error


def _number(path: Path, number: int, text: str) -> float:
    try:
        parsed = float(text)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise DatasetError(f"{path}, line {number}: expected a finite number, got {text[:20]!r}")
    return parsed


def _seconds(path: Path, number: int, text: str) -> float:
    """Read Unix seconds, or milliseconds where the number is too large for seconds."""
    stamp = _number(path, number, text)
    if not 0 <= stamp <= 1000 * _LATEST_S:
        raise DatasetError(
            f"{path}, line {number}: expected a timestamp in Unix seconds or milliseconds, "
            f"got {text[:20]!r}"
        )
    return stamp if stamp <= _LATEST_S else stamp / 1000


@contextmanager
def _open(path: Path) -> Generator[TextIO]:
    """Open plain or gzipped text."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
            yield handle
    else:
        with path.open(encoding="utf-8", newline="") as handle:
            yield handle
