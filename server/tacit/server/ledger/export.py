"""Write everything a ledger published into a directory that anyone can verify offline.

keys.json                       who may sign what, signed by the ledger
governance/checkpoint           the latest signed checkpoint
governance/checkpoints.json     every checkpoint ever signed, one for each size
governance/tile/…               C2SP tlog-tiles: hashes and entries
consent/…                       the same; its entries are opaque 33-byte leaves
"""

from __future__ import annotations

from pathlib import Path

from tacit.privacy.tiles import write_tiles
from tacit.server.errors import BadConfig
from tacit.server.ledger.contents import (
    CHECKPOINT_FILE,
    CHECKPOINTS_FILE,
    LOGS,
    LedgerContents,
    read_database,
    write_notes,
)
from tacit.server.ledger.keys import KEYS_FILE


def export_ledger(database: Path, directory: Path) -> LedgerContents:
    """Export a node's SQLite database (running or stopped) to a new or empty directory.

    Raises:
        BadConfig: if the directory is not empty or cannot be written.
        VerificationFailed: if the database cannot be read as a ledger.
    """
    return write_export(read_database(database), directory)


def write_export(contents: LedgerContents, directory: Path) -> LedgerContents:
    """Write what was read of a ledger to a new or empty directory.

    Raises:
        BadConfig: if the directory is not empty or cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise BadConfig(f"{directory}: expected an empty directory")
        (directory / KEYS_FILE).write_bytes(contents.keys_bytes)
        for name in LOGS:
            log = contents.logs[name]
            write_tiles(directory / name, log.entries)
            notes = [note.decode("utf-8") for note in log.notes]
            (directory / name).mkdir(exist_ok=True)
            (directory / name / CHECKPOINTS_FILE).write_bytes(write_notes(notes))
            if log.notes:
                (directory / name / CHECKPOINT_FILE).write_bytes(log.notes[-1])
    except OSError as error:
        raise BadConfig(f"{directory}: cannot be written ({error.strerror})") from None
    return contents
