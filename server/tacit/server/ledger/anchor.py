"""The anchor: the last checkpoints this node signed, kept where no database can take them back.

    <state_dir>.anchor/
      governance      signed checkpoint of the governance log, as in an export
      consent         signed checkpoint of the consent log

A database that was put back to an older state (a restored backup, a rolled-back disk, a standby
that had fallen behind) is consistent in itself, and everything spent since would be free again. So
the node refuses to start on a database that does not contain what it signed before.

The governance checkpoint is durable before any caller learns that its entry is: nothing that was
answered can be rolled back unnoticed. The consent checkpoint follows within a second; devices keep
their own. A crash may leave the anchor behind the database, never ahead of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tacit.privacy.checkpoint import verify_checkpoint
from tacit.privacy.errors import BadSignature
from tacit.server.durable_file import write_durably
from tacit.server.errors import BadConfig, StateCorrupt
from tacit.server.ledger.log import GOVERNANCE, MerkleLog

_CONSENT_EVERY_S = 1.0


class Anchor:
    """Remembers the logs of one node outside its database. Its owner holds the logs' lock."""

    def __init__(self, directory: Path, logs: Mapping[str, MerkleLog], public_key: bytes) -> None:
        """Hold the logs against what is remembered, and begin to remember.

        Args:
            directory: the anchor's directory; made where both logs are empty.
            logs: log name → log as it was loaded.
            public_key: the node's own key, which signed what is remembered.

        Raises:
            StateCorrupt: if a log is shorter than, or contradicts, what this node signed before,
                or if the anchor of a log that has entries is missing.
            BadConfig: if the directory cannot be used.
        """
        self._directory = directory
        self._logs = logs
        self._written: dict[str, bytes] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, log in logs.items():
                self._check(name, log, public_key)
            self._written_at_s = time.monotonic()
            self.save()
        except OSError as error:
            raise BadConfig(f"anchor {directory}: cannot be used ({error.strerror})") from None

    def follow(self) -> None:
        """Remember what a committed transaction appended; called before anyone is answered."""
        governed = self._logs[GOVERNANCE].latest()[0] != self._written[GOVERNANCE]
        if governed or time.monotonic() - self._written_at_s >= _CONSENT_EVERY_S:
            self.save()

    def save(self) -> None:
        """Make the latest checkpoint of every log durable."""
        for name, log in self._logs.items():
            note, _ = log.latest()
            if self._written.get(name) != note:
                write_durably(self._directory / name, note)
                self._written[name] = note
        self._written_at_s = time.monotonic()

    def _check(self, name: str, log: MerkleLog, public_key: bytes) -> None:
        path = self._directory / name
        try:
            note = path.read_bytes()
        except FileNotFoundError:
            if log.size:
                raise StateCorrupt(
                    f"{name} log: has {log.size} entries but no anchor at {path}; put the anchor "
                    "back, or the log's checkpoint from an export you trust (docs/databases.md)"
                ) from None
            return
        try:
            signed = verify_checkpoint(note, log.origin, log.origin, public_key)
        except BadSignature as error:
            raise StateCorrupt(f"anchor {path}: {error}") from None
        if not log.extends(signed):
            state = "fewer than" if log.size < signed.size else "not those of"
            raise StateCorrupt(
                f"{name} log: the database holds {log.size} entries, {state} the {signed.size} "
                f"this node signed before (anchor {path}): it was put back to an older state; "
                "restore the newest database, never an older one (docs/databases.md)"
            )
