"""Copies that recoveries leave beside a store: destroyed where the store's old keys are.

A copy holds the data key as it was wrapped, and every record as it was sealed. While it lies there,
whoever has the wrapping key reads all that the store has erased or sealed anew since.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tacit.client.errors import StoreUnavailable

_BLOCK = bytes(1 << 20)


def free_name(path: Path) -> Path:
    """Return a name beside a store that no copy of it has."""
    number = 1
    while (found := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return found


def destroy_copies(path: Path) -> None:
    """Overwrite and delete every copy of a store, finished or not; repeating it is harmless.

    Raises:
        StoreUnavailable: if one cannot be deleted.
    """
    copies = re.compile(
        re.escape(path.name) + r"\.(damaged-\d+(\.reading)?|recovering)(-wal|-shm|-journal)?"
    )
    found = [one for one in path.parent.iterdir() if copies.fullmatch(one.name)]
    try:
        for one in found:
            if one.is_file() and not one.is_symlink():
                _overwrite(one)
            one.unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{path}: a copy cannot be deleted ({error.strerror})") from None
    if found:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _overwrite(file: Path) -> None:
    left = file.stat().st_size
    with file.open("r+b", buffering=0) as content:
        while left:
            left -= content.write(_BLOCK[:left])
        os.fsync(content.fileno())
