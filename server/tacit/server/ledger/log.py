"""One append-only log: leaves in the database, tree in memory, a signed checkpoint per append."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from tacit.privacy.checkpoint import Checkpoint, sign, verify_checkpoint
from tacit.privacy.errors import BadSignature
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.signatures import SigningKey
from tacit.privacy.tiles import MAX_ENTRY_BYTES
from tacit.server.errors import InvalidRequest, StateCorrupt
from tacit.server.ledger.database import Database
from tacit.server.ledger.tables import checkpoints, leaves

GOVERNANCE = "governance"
CONSENT = "consent"

_ADD_LEAF = insert(leaves)
_ADD_CHECKPOINT = insert(checkpoints)


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a log holds a leaf and only grew.

    Attributes:
        index: position of the leaf.
        inclusion: audit path.
        checkpoint: signed note.
        consistency: proof from the size the caller named.
    """

    index: int
    inclusion: list[bytes]
    checkpoint: bytes
    consistency: list[bytes]


class MerkleLog:
    """Append to, and prove things about, one log.

    The tree in memory runs ahead of the database only inside `Logs.writing`, which holds the same
    lock that proofs take; a failed transaction truncates it back.
    """

    def __init__(self, name: str, origin: str, key: SigningKey, lock: threading.RLock) -> None:
        self.name = name
        self.origin = origin
        self._key = key
        self._lock = lock
        self._tree = MerkleTree()
        self._note = self._sign()

    def load(self, connection: Connection) -> None:
        """Rebuild the tree from the stored leaves and hold it against the stored checkpoint.

        Raises:
            StateCorrupt: if leaves are missing, or the latest checkpoint, signed by this node's
                key, does not stand for exactly these leaves.
        """
        query = select(leaves.c.position, leaves.c.data).where(leaves.c.log == self.name)
        tree = MerkleTree()
        for position, data in connection.execute(query.order_by(leaves.c.position)):
            if tree.append(leaf_hash(data)) != position:
                raise StateCorrupt(f"{self.name} log: leaf {tree.size - 1} is missing")
        note = connection.execute(
            select(checkpoints.c.note)
            .where(checkpoints.c.log == self.name)
            .order_by(checkpoints.c.size.desc())
            .limit(1)
        ).scalar_one_or_none()
        if note is not None or tree.size:
            try:
                known = verify_checkpoint(
                    note or b"", self.origin, self.origin, self._key.public_key
                )
            except BadSignature as error:
                raise StateCorrupt(f"{self.name} log: latest checkpoint: {error}") from None
            if (known.size, known.root) != (tree.size, tree.root()):
                raise StateCorrupt(
                    f"{self.name} log: {tree.size} leaves do not give the root signed for "
                    f"{known.size}"
                )
        self._tree = tree
        self._note = self._sign()

    @property
    def size(self) -> int:
        """Number of leaves."""
        with self._lock:
            return self._tree.size

    @property
    def root(self) -> bytes:
        """Root over all leaves."""
        with self._lock:
            return self._tree.root()

    def append(self, connection: Connection, data: bytes) -> int:
        """Append one leaf and its checkpoint within the caller's `Logs.writing` transaction.

        Returns:
            The leaf's index.

        Raises:
            InvalidRequest: if the leaf exceeds 65,535 bytes.
        """
        if len(data) > MAX_ENTRY_BYTES:
            raise InvalidRequest(
                f"expected a log entry of at most {MAX_ENTRY_BYTES} bytes, got {len(data)}"
            )
        index = self._tree.append(leaf_hash(data))
        connection.execute(_ADD_LEAF, {"log": self.name, "position": index, "data": data})
        self._note = self._sign()
        connection.execute(
            _ADD_CHECKPOINT, {"log": self.name, "size": index + 1, "note": self._note}
        )
        return index

    def checkpoint(self, known_size: int) -> tuple[bytes, list[bytes]]:
        """Return the latest signed checkpoint and the consistency proof from `known_size`.

        Raises:
            InvalidRequest: if the log never had `known_size` leaves.
        """
        with self._lock:
            return self._note, self._consistency(known_size)

    def proof(self, index: int, known_size: int) -> Proof:
        """Prove that leaf `index` is under the latest checkpoint.

        Raises:
            InvalidRequest: if there is no such leaf, or the log never had `known_size` leaves.
        """
        with self._lock:
            if not 0 <= index < self._tree.size:
                raise InvalidRequest(f"expected a leaf below {self._tree.size}, got {index}")
            return Proof(
                index,
                self._tree.inclusion_proof(index),
                self._note,
                self._consistency(known_size),
            )

    def entries(self, connection: Connection, start: int, count: int) -> list[bytes]:
        """Return up to `count` leaves from `start` on."""
        query = select(leaves.c.data).where(
            leaves.c.log == self.name,
            leaves.c.position >= start,
            leaves.c.position < start + count,
        )
        return list(connection.execute(query.order_by(leaves.c.position)).scalars())

    def rewind(self, size: int) -> None:
        """Undo appends whose transaction was rolled back."""
        if self._tree.size != size:
            self._tree.truncate(size)
            self._note = self._sign()

    def _consistency(self, known_size: int) -> list[bytes]:
        if not 0 <= known_size <= self._tree.size:
            raise InvalidRequest(
                f"the {self.name} log has {self._tree.size} leaves, fewer than the {known_size} "
                "the caller remembers"
            )
        return self._tree.consistency_proof(known_size)

    def _sign(self) -> bytes:
        checkpoint = Checkpoint(self.origin, self._tree.size, self._tree.root())
        return sign(checkpoint, self._key, self.origin)


class Logs:
    """Both logs of a node, kept in step with their database.

    Attributes:
        database: where everything is stored.
        governance, consent: the logs.
    """

    def __init__(self, database: Database, origins: Mapping[str, str], key: SigningKey) -> None:
        """Load both logs; raises `StateCorrupt` if a stored log contradicts its checkpoint."""
        self._lock = threading.RLock()
        self.database = database
        self.governance = MerkleLog(GOVERNANCE, origins[GOVERNANCE], key, self._lock)
        self.consent = MerkleLog(CONSENT, origins[CONSENT], key, self._lock)
        with database.reading() as connection:
            self.governance.load(connection)
            self.consent.load(connection)

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """Run one transaction over logs and tables: all of it becomes durable, or none.

        Crash points: before the commit returns, nothing happened for anyone; after it, the reply
        may be lost, and every caller's retry is answered from what was stored.
        """
        with self._lock:
            sizes = self.governance.size, self.consent.size
            try:
                with self.database.writing() as connection:
                    yield connection
            except BaseException:
                self.governance.rewind(sizes[0])
                self.consent.rewind(sizes[1])
                raise
