"""Where the ledger is, and how it is read: by the same code as every other command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from tacit.privacy.cosignature import NO_QUORUM, Quorum, Witness
from tacit.server.errors import BadConfig
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.contents import (
    CHECKPOINT_FILE,
    LOGS,
    LedgerContents,
    read_database,
    read_export,
    read_node,
)
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.database_postgres import reading_postgres
from tacit.server.ledger.keys import KEYS_FILE
from tacit.server.ledger.tables import checkpoints
from tacit.server.ledger.verification_report import VerificationReport
from tacit.server.ledger.verify import verify_contents

_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class LedgerSource:
    """One ledger.

    Attributes:
        path: Its export, its node's state directory, or its database file.
        config: The node's configuration where it is known.
        address: HOST:PORT of the running node, for what officers sign; empty if not known.
        ca: Certificate of the authority behind it; None if not known.
    """

    path: Path
    config: LedgerConfig | None = None
    address: str = ""
    ca: Path | None = None

    @property
    def is_export(self) -> bool:
        """Whether it is a copy that nothing is appended to."""
        return self.path.is_dir() and not (self.path / DATABASE_FILE).exists() and not self._remote

    @property
    def database_file(self) -> Path | None:
        """The node's SQLite file; None where the ledger is something else."""
        if self.is_export or self._remote:
            return None
        return self.path / DATABASE_FILE if self.path.is_dir() else self.path

    @property
    def postgres(self) -> str:
        """Address of the node's PostgreSQL database; empty where it has none."""
        return self.config.database if self.config is not None else ""

    @property
    def witnesses(self) -> tuple[Witness, ...]:
        """Witnesses that the node's configuration names."""
        return () if self.config is None else tuple(one.witness for one in self.config.witnesses)

    @property
    def _remote(self) -> bool:
        return bool(self.postgres)

    def read(self) -> LedgerContents:
        """Read everything it published.

        Raises:
            VerificationFailed: It cannot be read as a ledger.
            BadConfig: Its database does not answer.
        """
        if self.config is not None and self._remote:
            return read_node(self.config)
        return read_export(self.path) if self.is_export else read_database(self.path)

    def verify(
        self, ledger_key: bytes, known: Sequence[bytes], quorum: Quorum = NO_QUORUM
    ) -> tuple[LedgerContents, VerificationReport]:
        """Read it anew and verify everything; returns what was read and what was re-derived.

        Raises:
            VerificationFailed: It does not hold together; with every finding.
            BadConfig: Its database does not answer.
        """
        contents = self.read()
        directory = self.path if self.is_export else None
        return contents, verify_contents(
            contents, ledger_key, known, directory=directory, witnesses=quorum
        )

    def fingerprint(self) -> tuple[object, ...]:
        """Return something cheap that differs once the ledger does, and may differ without it."""
        if self._remote:
            with reading_postgres(self.postgres) as connection:
                rows = connection.execute(
                    select(checkpoints.c.log, func.max(checkpoints.c.size)).group_by(
                        checkpoints.c.log
                    )
                )
                return tuple(sorted((row[0], row[1]) for row in rows))
        if self.is_export:
            names = [KEYS_FILE, *(f"{log}/{CHECKPOINT_FILE}" for log in LOGS)]
            files = [self.path / name for name in names]
        else:
            file = self.database_file or self.path
            files = [file, file.with_name(file.name + "-wal"), file.parent / KEYS_FILE]
        return tuple(_stamp(one) for one in files)


def find_source(path: Path, address: str = "", ca: Path | None = None) -> LedgerSource:
    """Find the ledger at a path.

    Args:
        path: A demo's state directory, a ledger node's state directory, database file or
            configuration (JSON), or an export.
        address: HOST:PORT of the running node, instead of what a configuration says.
        ca: Certificate of the authority behind it, instead of a demo's.

    Raises:
        BadConfig: There is no ledger.
    """
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                return LedgerSource(path, None, address, ca)
        own = LedgerConfig.load(path)
        return LedgerSource(own.state_dir, own, address or own.address, ca)
    if (path / KEYS_FILE).is_file():
        return LedgerSource(path, None, address, ca)
    node, authority = path / "ledger", path / "tls" / "authority.pem"
    if (node / KEYS_FILE).is_file():
        config = (
            LedgerConfig.load(node / "config.json") if (node / "config.json").exists() else None
        )
        found = address or (config.address if config is not None else "")
        known = ca or (authority if authority.is_file() else None)
        return LedgerSource(node, config, found, known)
    if (path / "ledger-export" / KEYS_FILE).is_file():
        return LedgerSource(path / "ledger-export", None, address, ca)
    raise BadConfig(
        f"expected a demo's state directory, a ledger node's state directory, its {DATABASE_FILE} "
        f"or configuration, or an exported ledger ({KEYS_FILE} in it), got {path}"
    )


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
