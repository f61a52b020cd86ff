"""Item rows of a released model: flat in memory, or, for large catalogues, in a file and in blocks.

Up to `MOST_FLAT` items the rows stay as they were released and a scan is one product. Above, the
rows lie in an unlinked file, exact and as 8-bit codes, and a scan reads the codes through one small
buffer: what a million items need in memory is one number each. Item `i`, whose row is `r_i`, has
the code `c_i = round(r_i / s_i)` with `s_i = max|r_i| / 127`, so for a taste `u`

    |r_i · u - s_i c_i · u|  <=  (s_i / 2) |u|_1,

which `Estimate.errors` carries. An item whose estimate is further below the `k`-th than that cannot
be among the best `k`; the others are few and are scored again from their exact rows
(`tacit.client.decide.settle`), so the best `k` are those of a scan of the released numbers.
"""

from __future__ import annotations

import io
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
RealArray = npt.NDArray[np.floating]
Float32Array = npt.NDArray[np.float32]

MOST_FLAT = 100_000
"""Items above which rows are kept in blocks; below, a flat scan is as fast and simpler."""

BLOCK = 8192
"""Items a block; with 32 columns its codes and their floats stay in a megabyte of cache."""

_ROUNDING = 4e-6
"""Relative slack for the 32-bit sums of an estimate, generous for up to 128 columns."""


def all_rows(rows: ItemRows) -> FloatArray:
    """Return every row, `(n_items, d)`, in 64 bits; for servers and tests, not for decisions."""
    return rows.take(np.arange(rows.shape[0]))


class ItemRows(Protocol):
    """Rows of `n_items` items with `d` columns."""

    @property
    def shape(self) -> tuple[int, int]:
        """`(n_items, d)`."""
        ...

    def take(self, items: IntArray) -> FloatArray:
        """Return the exact rows of some items, `(m, d)`."""
        ...

    def scan(self, taste: FloatArray) -> FloatArray:
        """Return the product of every exact row with a taste `(d,)`, `(n_items,)`."""
        ...

    def estimate(self, taste: FloatArray) -> tuple[RealArray, RealArray | None]:
        """Return `scan` to within some bound an item; None for the rounding of 32-bit sums."""
        ...

    def sum_blocks(self, part: Callable[[slice, FloatArray], FloatArray]) -> FloatArray:
        """Add up a function of blocks of rows, `(first to last item, (m, d) rows)`."""
        ...


class FlatRows:
    """Rows in one array, in the precision they were released in."""

    def __init__(self, rows: RealArray) -> None:
        self._rows = rows

    @property
    def array(self) -> RealArray:
        """The rows."""
        return self._rows

    @property
    def shape(self) -> tuple[int, int]:
        """See `ItemRows`."""
        return self._rows.shape[0], self._rows.shape[1]

    def take(self, items: IntArray) -> FloatArray:
        """See `ItemRows`."""
        return self._rows[items].astype(np.float64)

    def scan(self, taste: FloatArray) -> FloatArray:
        """See `ItemRows`."""
        values = np.empty(len(self._rows))
        for start in range(0, len(values), BLOCK):
            rows = self._rows[start : start + BLOCK].astype(np.float64, copy=False)
            np.dot(rows, taste, out=values[start : start + BLOCK])
        return values

    def estimate(self, taste: FloatArray) -> tuple[RealArray, RealArray | None]:
        """See `ItemRows`; a product in the precision of the rows, which is taken as exact."""
        return np.asarray(self._rows @ taste.astype(self._rows.dtype)), None

    def sum_blocks(self, part: Callable[[slice, FloatArray], FloatArray]) -> FloatArray:
        """See `ItemRows`."""
        rows, starts = self._rows, range(0, len(self._rows), BLOCK)
        return _total(
            part(slice(at, at + BLOCK), rows[at : at + BLOCK].astype(np.float64)) for at in starts
        )


class BlockedRows:
    """Rows in an unlinked file: exact ones, and 8-bit codes with a scale an item in memory.

    The file belongs to this process alone and is gone with it. It holds public numbers, those of a
    signed release; it is made anew at each opening, so nothing has to vouch for an old one.
    """

    def __init__(self, rows: Float32Array, folder: Path | None = None) -> None:
        """Write the file.

        Args:
            rows: `(n_items, d)`, finite.
            folder: where the file lies; None for the system's. Not a folder in memory.
        """
        self._shape = rows.shape[0], rows.shape[1]
        self._lock = threading.Lock()
        self._file: io.FileIO = tempfile.TemporaryFile(  # noqa: SIM115
            dir=folder, buffering=0
        )
        # It goes with the last model that uses it; models are dropped, not closed.
        weakref.finalize(self, self._file.close)
        self._scales = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            largest = np.abs(block).max(axis=1)
            scales = np.where(largest > 0.0, largest / np.float32(127.0), np.float32(1.0))
            # The least of the least: a scale that underflows would divide by nothing.
            scales = np.maximum(scales, np.finfo(np.float32).tiny)
            codes = np.clip(np.rint(block / scales[:, np.newaxis]), -127, 127).astype(np.int8)
            self._scales[start : start + BLOCK] = scales
            _write(self._file, codes.data.cast("B"))
        self._exact_at = self._file.tell()
        for start in range(0, len(rows), BLOCK):
            block = np.ascontiguousarray(rows[start : start + BLOCK])
            _write(self._file, block.data.cast("B"))
        width = self._shape[1]
        self._codes = np.empty((BLOCK, width), dtype=np.int8)
        self._floats = np.empty((BLOCK, width), dtype=np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """See `ItemRows`."""
        return self._shape

    def take(self, items: IntArray) -> FloatArray:
        """See `ItemRows`."""
        width = self._shape[1]
        taken = np.empty((len(items), width), dtype=np.float32)
        if len(items) > BLOCK:
            # Reading everything once beats so many single reads.
            for start, rows in self._blocks():
                inside = (items >= start) & (items < start + len(rows))
                taken[inside] = rows[items[inside] - start]
            return taken.astype(np.float64)
        with self._lock:
            for row, item in zip(taken, items.tolist(), strict=True):
                self._file.seek(self._exact_at + 4 * width * item)
                _fill(self._file, row.data.cast("B"))
        return taken.astype(np.float64)

    def scan(self, taste: FloatArray) -> FloatArray:
        """See `ItemRows`; reads every exact row, which an explanation can wait for."""
        values = np.empty(self._shape[0])
        for start, rows in self._blocks():
            np.dot(rows.astype(np.float64), taste, out=values[start : start + BLOCK])
        return values

    def estimate(self, taste: FloatArray) -> tuple[RealArray, RealArray | None]:
        """See `ItemRows`; reads a byte a number."""
        user, values = taste.astype(np.float32), np.empty(self._shape[0], dtype=np.float32)
        with self._lock:
            self._file.seek(0)
            for start in range(0, len(values), BLOCK):
                codes, floats = self._codes[: len(values) - start], self._floats
                _fill(self._file, codes.data.cast("B"))
                # A product of 8-bit numbers is slow in numpy; of floats in cache it is not.
                rows = floats[: len(codes)]
                np.copyto(rows, codes)
                np.dot(rows, user, out=values[start : start + BLOCK])
        values *= self._scales
        half = np.float32((0.5 + 127 * _ROUNDING) * float(np.abs(taste).sum()))
        return values, self._scales * half

    def sum_blocks(self, part: Callable[[slice, FloatArray], FloatArray]) -> FloatArray:
        """See `ItemRows`."""
        parts = (
            part(slice(start, start + len(rows)), rows.astype(np.float64))
            for start, rows in self._blocks()
        )
        return _total(parts)

    def _blocks(self) -> Iterator[tuple[int, Float32Array]]:
        """Yield the exact rows block by block; each is good until the next."""
        with self._lock:
            self._file.seek(self._exact_at)
            for start in range(0, self._shape[0], BLOCK):
                rows = self._floats[: self._shape[0] - start]
                _fill(self._file, rows.data.cast("B"))
                yield start, rows


def real_rows(rows: npt.NDArray[Any]) -> RealArray:
    """Take rows as they were released: 32 bits stay 32, all else becomes 64."""
    return np.asarray(rows, dtype=np.float32 if rows.dtype == np.float32 else np.float64)


def item_vector(values: npt.NDArray[Any]) -> RealArray:
    """Take one number an item: in 64 bits, or in 32 where a catalogue is large."""
    return np.asarray(values, dtype=np.float64 if len(values) <= MOST_FLAT else np.float32)


def item_rows(rows: RealArray, folder: Path | None = None) -> ItemRows:
    """Keep released rows as suits their number; see `FlatRows` and `BlockedRows`."""
    if len(rows) <= MOST_FLAT:
        return FlatRows(rows)
    return BlockedRows(np.asarray(rows, dtype=np.float32), folder)


def _total(parts: Iterator[FloatArray]) -> FloatArray:
    # Sums of thousands of rows are added in 64 bits, block by block, whatever the rows are in.
    total = next(parts)
    for one in parts:
        total = total + one
    return total


def _write(file: io.FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _fill(file: io.FileIO, into: memoryview) -> None:
    while into:
        read = file.readinto(into)
        if not read:
            raise OSError("the file of a model's rows ended early")
        into = into[read:]
