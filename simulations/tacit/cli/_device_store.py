"""Where a device is: its store, or the directory it lies in, and the key that opens it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click

from tacit.client import (
    BadCatalogue,
    Catalogue,
    DeviceError,
    FileKeyProvider,
    KeyProvider,
    PassphraseKeyProvider,
    StoreUnavailable,
)
from tacit.client.personalizer import Personalizer

PROFILE_FILE = "profile.db"
_SQLITE = b"SQLite format 3\0"


@contextmanager
def opened_device(
    path: Path, key: Path | None, passphrase: bool, catalogue: Catalogue | None = None
) -> Generator[Personalizer]:
    """Open the device at `path`, which nothing else may have open, and close it afterwards.

    Args:
        path: the store's file, or a directory with `profile.db` in it.
        key: its key file; None to look where a demo keeps it (`keys/N.key` beside `devices/N/`).
        passphrase: ask for a passphrase instead.
        catalogue: the items there are.

    Raises:
        ClickException: if there is no store or no key there, the store does not open, or what is
            done with it is refused.
    """
    store = store_of(path)
    try:
        with Personalizer.open(store, keys_of(store, key, passphrase), catalogue) as device:
            yield device
    except DeviceError as error:
        raise one_line(error) from None


def one_line(error: DeviceError) -> click.ClickException:
    """Return what a device refused as one line, and what to do about it."""
    hint = ""
    if isinstance(error, StoreUnavailable) and "another process" in str(error):
        hint = "; if that is `tacit device serve`, ask through its socket or stop it first"
    if isinstance(error, BadCatalogue) and str(error).endswith("got none"):
        hint = "; pass --catalogue FILE, or put catalogue.json beside the store"
    return click.ClickException(f"{error}{hint}")


def store_of(path: Path) -> Path:
    """Return the store's file.

    Raises:
        ClickException: if there is none.
    """
    store = path / PROFILE_FILE if path.is_dir() else path
    if not looks_like_a_store(store):
        raise click.ClickException(
            f"expected a device's store, or a directory with {PROFILE_FILE} in it, got {path}"
        )
    return store


def keys_of(store: Path, key: Path | None, passphrase: bool) -> KeyProvider:
    """Return what opens a store.

    Raises:
        ClickException: if there is no key file where it should be.
    """
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


def looks_like_a_store(path: Path) -> bool:
    """Whether a file begins as a store does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE
