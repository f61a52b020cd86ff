"""Where a device is: its store, or the directory it lies in, and the key that opens it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click

from tacit.client import DeviceError, FileKeyProvider, KeyProvider, PassphraseKeyProvider
from tacit.client.personalizer import Personalizer

PROFILE_FILE = "profile.db"
_SQLITE = b"SQLite format 3\0"


@contextmanager
def opened_device(path: Path, key: Path | None, passphrase: bool) -> Generator[Personalizer]:
    """Open the device at `path`, which nothing else may have open, and close it afterwards.

    Args:
        path: the store's file, or a directory with `profile.db` in it.
        key: its key file; None to look where a demo keeps it (`keys/N.key` beside `devices/N/`).
        passphrase: ask for a passphrase instead.

    Raises:
        ClickException: if there is no store or no key there, or the store does not open.
    """
    store = path / PROFILE_FILE if path.is_dir() else path
    if not store.is_file() or _head(store) != _SQLITE:
        raise click.ClickException(
            f"expected a device's store, or a directory with {PROFILE_FILE} in it, got {path}"
        )
    try:
        with Personalizer.open(store, _keys(store, key, passphrase)) as device:
            yield device
    except DeviceError as error:
        raise click.ClickException(str(error)) from None


def _keys(store: Path, key: Path | None, passphrase: bool) -> KeyProvider:
    if passphrase:
        return PassphraseKeyProvider(click.prompt("passphrase", hide_input=True, err=True))
    home = store.resolve().parent
    key = key or home.parent.parent / "keys" / f"{home.name}.key"
    # Opening would make a key where there is none, and then fail on a store it does not fit.
    if not key.is_file():
        raise click.ClickException(
            f"expected the store's key file, got none at {key}; pass --key or --passphrase"
        )
    return FileKeyProvider(key)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_SQLITE))
