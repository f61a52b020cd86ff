"""The argument PATH and the options that every command about a device has."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tacit.cli._catalogue_file import read_catalogue
from tacit.cli._device_store import keys_of, opened_device, store_of
from tacit.client import KeyProvider
from tacit.client.personalizer import Personalizer
from tacit.client.plain import plain

CATALOGUE_FILE = "catalogue.json"


@dataclass(frozen=True, slots=True)
class Device:
    """The device a command is about.

    Attributes:
        path: the store, or the directory it lies in.
        key, passphrase: what opens it.
        catalogue: file of the items there are; None for `catalogue.json` beside the store.
        as_json: print JSON.
    """

    path: Path
    key: Path | None
    passphrase: bool
    catalogue: Path | None
    as_json: bool

    @property
    def store(self) -> Path:
        """The store's file."""
        return store_of(self.path)

    def keys(self) -> KeyProvider:
        """Return what opens the store."""
        return keys_of(self.store, self.key, self.passphrase)

    @contextmanager
    def opened(self) -> Generator[Personalizer]:
        """Open the device, and close it afterwards.

        Raises:
            ClickException: if it cannot be opened, or a verb refuses.
        """
        beside = self.store.with_name(CATALOGUE_FILE)
        file = self.catalogue or (beside if beside.is_file() else None)
        catalogue = None if file is None else read_catalogue(file)
        with opened_device(self.path, self.key, self.passphrase, catalogue) as device:
            yield device

    def say(self, answer: object, lines: Iterable[str]) -> None:
        """Print an answer: as JSON if that was asked for, else as lines."""
        if self.as_json:
            click.echo(json.dumps(plain(answer), indent=2, ensure_ascii=False))
            return
        for line in lines:
            click.echo(line)


def of_a_device(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command PATH and its options, as a `Device` in its first place."""

    @functools.wraps(command)
    def called(
        path: Path,
        key: Path | None,
        passphrase: bool,
        catalogue: Path | None,
        as_json: bool,
        **options: Any,
    ) -> None:
        command(Device(path, key, passphrase, catalogue, as_json), **options)

    file = click.Path(path_type=Path, dir_okay=False)
    for wrap in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--catalogue",
            type=file,
            help=f"The items there are, JSON; by default {CATALOGUE_FILE} beside the store.",
        ),
        click.option("--passphrase", is_flag=True, help="Ask for the store's passphrase."),
        click.option(
            "--key", type=file, help="The store's key file; by default where a demo keeps it."
        ),
        click.argument("path", type=click.Path(exists=True, path_type=Path)),
    ):
        called = wrap(called)
    return called


def read_object(text: str, option: str) -> dict[str, object]:
    """Parse an option's JSON object.

    Raises:
        BadParameter: if it is none.
    """
    value = read_value(text, option)
    if not isinstance(value, dict):
        raise click.BadParameter("expected a JSON object", param_hint=f"'{option}'")
    return {str(name): one for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]


def read_value(text: str, option: str) -> object:
    """Parse an option's JSON value.

    Raises:
        BadParameter: if it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise click.BadParameter("expected JSON", param_hint=f"'{option}'") from None
