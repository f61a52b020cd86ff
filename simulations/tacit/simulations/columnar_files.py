"""Read large files column by column: CSV by pyarrow, Parquet, RecBole atomic files.

`EventColumns` holds ids as codes into a list of distinct ids, so twenty million ratings take
hundreds of megabytes, not tens of gigabytes. A file that pyarrow cannot read as expected is read
again line by line (`dataset_files`), whose messages name the line.
"""

# Neither scipy nor pyarrow ships types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportUnknownLambdaType=false

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute, csv, parquet

from tacit.simulations.dataset_files import (
    EventTable,
    column_names,
    seconds_scale,
    signal_named,
)
from tacit.simulations.errors import DatasetError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

LARGE_BYTES = 8_000_000
"""Plain CSV files from this size on are read by pyarrow first."""


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Hold events as codes into distinct ids.

    Attributes:
        user_ids, item_ids, signal_names: distinct ids, in any order.
        users, items, signals: `(n_events,)` codes.
        values: `(n_events,)`.
        timestamps: `(n_events,)` seconds, or the position in the source where there are none.
        timed: whether the source has times.
    """

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    signal_names: tuple[str, ...]
    users: IntArray
    items: IntArray
    signals: IntArray
    values: FloatArray
    timestamps: FloatArray
    timed: bool


def from_table(table: EventTable) -> EventColumns:
    """Index the parallel lists of a line-by-line reader."""
    columns: list[tuple[tuple[str, ...], IntArray]] = []
    for texts in (table.users, table.items, table.signals):
        codes: dict[str, int] = {}
        indexed = np.array([codes.setdefault(text, len(codes)) for text in texts], dtype=np.int64)
        columns.append((tuple(codes), indexed))
    (user_ids, users), (item_ids, items), (signal_names, signals) = columns
    return EventColumns(
        user_ids,
        item_ids,
        signal_names,
        users,
        items,
        signals,
        np.array(table.values, dtype=np.float64),
        np.array(table.timestamps, dtype=np.float64),
        table.timed,
    )


def read_large_csv(path: Path) -> EventColumns | None:
    """Read a CSV with a header through pyarrow.

    Returns:
        The events, or `None` if a line or number is not as expected: a slower reader knows which.

    Raises:
        DatasetError: the header lacks a column.
    """
    try:
        table = csv.read_csv(
            path,
            convert_options=csv.ConvertOptions(strings_can_be_null=True),
            parse_options=csv.ParseOptions(ignore_empty_lines=True),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        return None
    try:
        return _events(path, table)
    except (_Unexpected, pa.ArrowInvalid):
        return None


def read_parquet(path: Path) -> EventColumns:
    """Read a Parquet file with at least a user and an item column.

    Raises:
        DatasetError: it is no Parquet file, a column is missing, or a value is missing or bad.
    """
    try:
        return _events(path, parquet.read_table(path))
    except _Unexpected as error:
        raise DatasetError(f"{path}: {error}") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DatasetError(f"cannot read {path}: expected a Parquet file") from None


def read_inter(path: Path) -> EventColumns:
    """Read a RecBole atomic file: tab-separated, header of `name:type` fields.

    Raises:
        DatasetError: a column is missing, or a line or value is not as the header says.
    """
    try:
        table = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter="\t"))
        names = [cast(str, name).split(":")[0] for name in table.column_names]
        return _events(path, table.rename_columns(names))
    except (_Unexpected, pa.ArrowInvalid) as error:
        raise DatasetError(f"cannot read {path}: {str(error).splitlines()[0][:160]}") from None


class _Unexpected(Exception):  # noqa: N818 - never leaves this module
    """Report a column that is not as expected."""


def _events(path: Path, table: Any) -> EventColumns:
    found = column_names(path, [cast(str, name) for name in table.column_names])
    chosen: Mapping[str, Any] = {name: table.column(at) for name, at in found.items()}
    if not table.num_rows:
        raise _Unexpected("expected at least one line of data, got no events")
    user_ids, users = _codes(chosen["user"], "user")
    item_ids, items = _codes(chosen["item"], "item")
    n_events = len(users)
    signal_names: tuple[str, ...] = ("product_view" if "value" not in chosen else "rating",)
    signals = np.zeros(n_events, dtype=np.int64)
    if "event" in chosen:
        events, signals = _codes(chosen["event"], "event")
        try:
            signal_names = tuple(signal_named(name) for name in events)
        except ValueError as error:
            raise _Unexpected(str(error)) from None
    values = np.ones(n_events)
    if "value" in chosen:
        values = _numbers(chosen["value"], "value")
    timestamps = np.arange(n_events, dtype=np.float64)
    if "timestamp" in chosen:
        timestamps = _numbers(chosen["timestamp"], "timestamp")
        if n_events and not bool(np.all((timestamps >= 0) & (timestamps <= 1000 * 1e11))):
            raise _Unexpected("expected timestamps in Unix seconds or milliseconds")
        timestamps = seconds_scale(timestamps)
    return EventColumns(
        *(user_ids, item_ids, signal_names, users, items, signals, values, timestamps),
        timed="timestamp" in chosen,
    )


def _codes(column: Any, name: str) -> tuple[tuple[str, ...], IntArray]:
    if column.null_count:
        raise _Unexpected(f"expected a {name} in every line, got {column.null_count} without")
    encoded = compute.dictionary_encode(column).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([]).dictionary_encode()
    labels = tuple(str(label) for label in encoded.dictionary.to_pylist())
    if "" in labels:
        raise _Unexpected(f"expected a {name} in every line, got an empty one")
    return labels, np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _numbers(column: Any, name: str) -> FloatArray:
    numbers = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    if not math.isfinite(float(numbers.sum())) or not bool(np.all(np.isfinite(numbers))):
        raise _Unexpected(f"expected finite numbers in {name}")
    return numbers
