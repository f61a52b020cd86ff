"""How an officer reaches a running ledger: its address, its authority, a key file."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from tacit.privacy.errors import PrivacyError
from tacit.privacy.signatures import SigningKey
from tacit.server.errors import BadConfig, LedgerUnavailable, ServerError
from tacit.server.key_file import read_key_file, write_key_file
from tacit.server.ledger.client import LedgerClient
from tacit.server.ledger.config import LedgerConfig

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])


def connection_options(command: _Command) -> _Command:
    """Add what every verb that signs needs."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print it as JSON."),
        click.option("--account", help="Account to change. Default: the ledger's only one."),
        click.option("--ca", type=_FILE, help="Certificate of the authority behind the ledger."),
        click.option("--ledger", help="HOST:PORT of the running ledger."),
        click.option("--key", type=_FILE, required=True, help="Your key file (tacit budget key)."),
        click.argument(
            "state", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
        ),
    ):
        command = option(command)
    return command


@contextmanager
def officer_client(
    state: Path | None, ledger: str | None, ca: Path | None, key: Path
) -> Generator[tuple[LedgerClient, SigningKey]]:
    """Connect with an officer's key; every refusal becomes one line and exit code 1.

    Args:
        state: A demo's state directory, which says where its ledger listens; or None.
        ledger: HOST:PORT; overrides what `state` says.
        ca: Certificate; overrides what `state` says.
        key: File of 64 hexadecimal digits.
    """
    if state is not None and (ledger is None or ca is None):
        address, authority = _of_demo(state)
        ledger, ca = ledger or address, ca or authority
    if ledger is None or ca is None:
        raise click.UsageError(
            "expected --ledger HOST:PORT and --ca FILE, or the state directory of a demo"
        )
    signing_key = _read_key(key)
    try:
        with LedgerClient(ledger, ca.read_bytes(), signing_key, patience_s=3.0) as client:
            yield client, signing_key
    except LedgerUnavailable as error:
        raise click.ClickException(
            f"{error}, at {ledger}: start it, or name where it listens with --ledger HOST:PORT; if "
            f"it runs there, {ca} is not the authority behind its certificate"
        ) from None
    except (ServerError, PrivacyError) as error:
        raise click.ClickException(str(error)) from None


def write_new_key(path: Path) -> SigningKey:
    """Make a key and write it for its owner alone; nothing is overwritten.

    Raises:
        ClickException: The file is there, or cannot be written.
    """
    try:
        return write_key_file(path)
    except FileExistsError:
        raise click.ClickException(
            f"{path}: expected a new file; a key is never replaced"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written: {error.strerror}") from None


def print_json(document: object) -> None:
    """Print a document as the other verbs do."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _of_demo(state: Path) -> tuple[str, Path]:
    config, authority = state / "ledger" / "config.json", state / "tls" / "authority.pem"
    if not config.is_file() or not authority.is_file():
        raise click.UsageError(
            f"expected the state directory of a demo ({config.relative_to(state)} in it), or "
            f"--ledger HOST:PORT and --ca FILE, got {state}"
        )
    try:
        return LedgerConfig.load(config).address, authority
    except BadConfig as error:
        raise click.ClickException(str(error)) from None


def _read_key(path: Path) -> SigningKey:
    try:
        return read_key_file(path, "--key")
    except BadConfig:
        raise click.BadParameter(
            f"expected a file with 64 hexadecimal digits, got {path}", param_hint="'--key'"
        ) from None
