"""Where a ledger is: an export, a node's state directory or database, or inside a demo's state."""

from __future__ import annotations

from pathlib import Path

import click

from tacit.server.errors import ServerError
from tacit.server.ledger.contents import LedgerContents, read_database, read_export
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.keys import KEYS_FILE
from tacit.server.ledger.log import GOVERNANCE

_SQLITE = b"SQLite format 3\0"
_DEMO_EXPORT = "ledger-export"
_DEMO_NODE = "ledger"


def read_ledger(path: Path) -> LedgerContents:
    """Read what the ledger at `path` published; of a demo's state directory, its node's database.

    Raises:
        ClickException: `path` is no ledger and holds none, or cannot be read as one.
    """
    path, is_export = find_ledger(path)
    try:
        return read_export(path) if is_export else read_database(path)
    except ServerError as error:
        raise click.ClickException(str(error)) from None


def find_ledger(path: Path) -> tuple[Path, bool]:
    """Return where the ledger at or in `path` lies, and whether it is an export.

    Raises:
        ClickException: `path` is no ledger and holds none.
    """
    path = ledger_at(path)
    check_is_ledger(path)
    return path, path.is_dir() and not (path / DATABASE_FILE).exists()


def ledger_at(path: Path) -> Path:
    """Return where the ledger is: in a demo's state directory its node's, else its export."""
    if path.is_dir() and not (path / KEYS_FILE).is_file():
        inside = (path / _DEMO_NODE, path / _DEMO_EXPORT)
        return next((one for one in inside if (one / KEYS_FILE).is_file()), path)
    return path


def check_is_ledger(path: Path) -> None:
    """Say what was expected where PATH is plainly something else."""
    if path.is_dir():
        if (path / DATABASE_FILE).is_file() or (path / GOVERNANCE).is_dir():
            return
        hint = ""
        if (path / KEYS_FILE).is_file():
            hint = (
                ", without either: if the node's database is PostgreSQL, run `tacit ledger export "
                "--config FILE DIRECTORY` and give that directory"
            )
    else:
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                return
        hint = ""
    raise click.ClickException(
        f"expected an exported ledger ({KEYS_FILE} in it), a ledger node's state directory or its "
        f"{DATABASE_FILE}, got {path}{hint}"
    )
