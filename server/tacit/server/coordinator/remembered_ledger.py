"""The ledger as a coordinator sees it that remembers what it saw: going back is refused.

A ledger that was put back to an older state has forgotten spends. Whoever trains on it would spend
the same budget twice. So the last governance checkpoint is kept in the coordinator's state
directory, and no task is published and nothing is spent on a ledger that does not extend it.
"""

from __future__ import annotations

from tacit.privacy.budget_documents import ReserveDocument
from tacit.privacy.canonical import Json
from tacit.privacy.checkpoint import Checkpoint as LogCheckpoint
from tacit.privacy.checkpoint import stated_checkpoint
from tacit.privacy.errors import BadProof, BadSignature
from tacit.privacy.merkle import EMPTY_ROOT, verify_consistency
from tacit.server.coordinator.checkpoint import Checkpoint
from tacit.server.coordinator.errors import StateConflict
from tacit.server.coordinator.training import TaskLedger
from tacit.server.errors import InvalidRequest
from tacit.server.ledger.client import LedgerClient
from tacit.v1 import budget_pb2, ledger_pb2


class RememberedLedger(TaskLedger):
    """Does what `LedgerClient` does, and holds the governance log against what was seen of it.

    Every answer comes over TLS from the ledger that `ledger_ca` vouches for; the checkpoints are
    compared, not their signatures.
    """

    def __init__(self, ledger: LedgerClient, checkpoint: Checkpoint) -> None:
        self._ledger = ledger
        self._checkpoint = checkpoint

    def look(self) -> None:
        """Hold the ledger against what was seen of it, and remember what it shows now.

        Raises:
            StateConflict: if it has fewer entries, or other ones.
        """
        seen = self._seen()
        size = 0 if seen is None else seen.size
        try:
            reply = self._ledger.checkpoint(ledger_pb2.LOG_GOVERNANCE, size)
            now = stated_checkpoint(reply.checkpoint)
            if seen is not None and now.origin != seen.origin:
                raise StateConflict(
                    f"expected the ledger of {seen.origin}, got {now.origin}; refusing to train"
                )
            root = EMPTY_ROOT if seen is None else seen.root
            verify_consistency(size, root, now.size, now.root, reply.consistency)
        except (InvalidRequest, BadProof, BadSignature) as error:
            raise StateConflict(
                f"the ledger's governance log does not contain the {size} entries it had before "
                f"({error}): it was put back to an older state, or is another ledger; refusing to "
                "train (docs/databases.md)"
            ) from None
        if now != seen:
            self._checkpoint.save_ledger_checkpoint(reply.checkpoint)

    def append_governance(
        self, kind: str, body: dict[str, Json], recorded_at_ms: int | None = None
    ) -> int:
        """Append a task or a release to a ledger that did not go back; see `TaskLedger`."""
        self.look()
        index = self._ledger.append_governance(kind, body, recorded_at_ms)
        self.look()
        return index

    def reserve(self, document: ReserveDocument) -> budget_pb2.BudgetReply:
        """Reserve on a ledger that did not go back, and remember that it did."""
        self.look()
        reply = self._ledger.reserve(document)
        # Before any noise is drawn: from here on this spend cannot be forgotten unnoticed.
        self.look()
        return reply

    def commit(
        self, account_id: str, reservation_id: str, release_sha256: str
    ) -> budget_pb2.BudgetReply:
        """Commit on a ledger that did not go back, and remember that it did."""
        self.look()
        reply = self._ledger.commit(account_id, reservation_id, release_sha256)
        self.look()
        return reply

    def logged_entry(self, index: int, known_size: int = 0) -> ledger_pb2.LoggedEntry:
        """Return an entry with its proofs."""
        return self._ledger.logged_entry(index, known_size)

    def put_blob(self, content: bytes) -> bytes:
        """Store a public blob."""
        return self._ledger.put_blob(content)

    def entries(self, start: int = 0, count: int = 1000) -> list[bytes]:
        """Return governance entries."""
        return self._ledger.entries(start, count)

    def latest_release(
        self, population: str, known_size: int = 0, kind: str = ""
    ) -> ledger_pb2.LoggedEntry | None:
        """Return a population's newest release."""
        return self._ledger.latest_release(population, known_size, kind)

    def _seen(self) -> LogCheckpoint | None:
        note = self._checkpoint.ledger_checkpoint()
        try:
            return None if note is None else stated_checkpoint(note)
        except BadSignature as error:
            raise StateConflict(f"ledger-checkpoint is damaged: {error}") from None
