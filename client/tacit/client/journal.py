"""The decision journal: what was decided, shown and came of it, sealed, across restarts.

Each row is a small JSON document and, for decisions, arrays beside it. A decision's history is kept
as sequences of the event log, not as items, so that forgetting an event takes away what the
decision says about it. Rows beyond the newest `MOST_ROWS`, or older than `KEPT_DAYS`, are dropped
when the journal is opened and once a day.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tacit.client.errors import StoreDamaged
from tacit.client.store import Store

MOST_ROWS = 5_000
KEPT_DAYS = 90
DAY_MS = 86_400_000
_KIND = "decision"


@dataclass(slots=True)
class Contacts:
    """What guardrails remember of the past, from the journal.

    Attributes:
        shown: (item id, Unix ms) of every showing.
        messages_ms: channel → Unix ms of every message.
    """

    shown: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    messages_ms: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    def note(self, document: Mapping[str, Any]) -> None:
        """Take one row of the journal into account."""
        if document["row"] == "shown":
            self.shown += [(item, document["at_ms"]) for item in document["items"]]
        channel = document.get("message")
        if channel is not None:
            self.messages_ms.setdefault(channel, []).append(document["at_ms"])


class DecisionJournal:
    """The journal of one store.

    Rows hold `row` (`decision`, `shown`, `outcome` or `exposure`); `id` of the decision; `at_ms`;
    and what the writer adds.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contacts: Contacts | None = None
        self._pruned_at_ms = 0

    def append(
        self, row: str, decision_id: str, at_ms: int, blob: bytes = b"", **document: object
    ) -> None:
        """Write a row; no kill of the process can undo it once this returns."""
        self.contacts(at_ms)
        written: dict[str, object] = {"row": row, "id": decision_id, "at_ms": at_ms, **document}
        head = json.dumps(written, allow_nan=False, separators=(",", ":")).encode()
        content = struct.pack("<I", len(head)) + head + blob
        sealer = self._store.sealer
        with self._store.kill_safe() as connection:
            found = connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'decisions'"
            ).fetchone()
            sequence = (found[0] if found else 0) + 1
            connection.execute(
                "INSERT INTO decisions VALUES (?, ?, ?, ?)",
                (
                    sequence,
                    self._store.epoch,
                    sealer.tag("decision", decision_id),
                    sealer.seal(_KIND, sequence, content),
                ),
            )
        if self._contacts is not None:
            self._contacts.note(written)

    def find(self, decision_id: str) -> tuple[Mapping[str, Any], bytes] | None:
        """Return a decision's document and blob, or None if it is not kept."""
        for document, blob in self._rows(decision_id):
            if document["row"] == "decision" and document["id"] == decision_id:
                return document, blob
        return None

    def holds(self, row: str, decision_id: str) -> bool:
        """Tell whether a row of a kind is kept under an id."""
        return any(
            document["row"] == row and document["id"] == decision_id
            for document, _ in self._rows(decision_id)
        )

    def rows(self) -> list[Mapping[str, Any]]:
        """Return the document of every row, oldest first."""
        return [document for document, _ in self._rows(None)]

    def contacts(self, now_ms: int) -> Contacts:
        """Return what was shown and sent, dropping rows that are too old."""
        if self._contacts is None or now_ms - self._pruned_at_ms > DAY_MS:
            self._contacts = Contacts()
            for document in self._prune(now_ms):
                self._contacts.note(document)
        return self._contacts

    def forget_items(self, items: Collection[str]) -> int:
        """Drop every row that names one of some items; returns how many."""
        gone = set(items)
        return self._drop(lambda document: bool(gone & set(document.get("items", ()))))

    def forget_since(self, since_ms: int) -> int:
        """Drop every row written at or after a time; returns how many."""
        return self._drop(lambda document: document["at_ms"] >= since_ms)

    def erase_all(self) -> int:
        """Drop every row; returns how many."""
        return self._drop(lambda _: True)

    def _drop(self, unwanted: Callable[[Mapping[str, Any]], bool]) -> int:
        with self._store.reading() as connection:
            sealed = connection.execute("SELECT sequence, epoch, sealed FROM decisions").fetchall()
        gone = [(row[0],) for row in sealed if unwanted(self._open(*row)[0])]
        with self._store.power_safe() as connection:
            connection.executemany("DELETE FROM decisions WHERE sequence = ?", gone)
        self._contacts = None
        return len(gone)

    def _prune(self, now_ms: int) -> list[Mapping[str, Any]]:
        """Drop what is too old or too much; return the documents that stay, oldest first."""
        self._pruned_at_ms = now_ms
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT sequence, epoch, sealed FROM decisions ORDER BY sequence"
            ).fetchall()
        oldest_ms = now_ms - KEPT_DAYS * DAY_MS
        gone: list[tuple[int]] = []
        kept: list[Mapping[str, Any]] = []
        for place, row in enumerate(rows):
            document, _ = self._open(*row)
            # A clock that was set back empties nothing: only what is too old goes.
            if len(rows) - place > MOST_ROWS or document["at_ms"] < oldest_ms:
                gone.append((row[0],))
            else:
                kept.append(document)
        if gone:
            with self._store.power_safe() as connection:
                connection.executemany("DELETE FROM decisions WHERE sequence = ?", gone)
        return kept

    def _rows(self, decision_id: str | None) -> list[tuple[Mapping[str, Any], bytes]]:
        query = "SELECT sequence, epoch, sealed FROM decisions"
        with self._store.reading() as connection:
            if decision_id is None:
                rows = connection.execute(query + " ORDER BY sequence").fetchall()
            else:
                tag = self._store.sealer.tag("decision", decision_id)
                rows = connection.execute(query + " WHERE decision_tag = ?", (tag,)).fetchall()
        return [self._open(*row) for row in rows]

    def _open(self, sequence: int, epoch: int, sealed: bytes) -> tuple[dict[str, Any], bytes]:
        content = self._store.unseal(_KIND, sequence, epoch, sealed)
        try:
            (length,) = struct.unpack_from("<I", content)
            document: dict[str, Any] = json.loads(content[4 : 4 + length])
        except (ValueError, struct.error):
            raise StoreDamaged("a decision record is of another version") from None
        return document, content[4 + length :]
