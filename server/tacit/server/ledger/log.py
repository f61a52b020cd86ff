"""One append-only log: leaves in the database, tree in memory, a signed checkpoint per append.

Who sees what while transactions run: leaves are in the tree as soon as they are appended, and count
for whoever is inside a transaction (`written`, `root`). For everybody else the log ends at the last
leaf that is durable (`size`, `latest`, every proof), so a proof never waits for a disk, and nobody
is ever shown a leaf that a crash could take back.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from tacit.privacy.budget_standing import LedgerIdentity
from tacit.privacy.checkpoint import Checkpoint, sign, verify_checkpoint
from tacit.privacy.errors import BadSignature
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.signatures import SigningKey
from tacit.privacy.tiles import MAX_ENTRY_BYTES
from tacit.server.errors import InvalidRequest, LogRolledBack, StateCorrupt
from tacit.server.ledger.cosigning import Cosigning
from tacit.server.ledger.database import Database
from tacit.server.ledger.tables import checkpoints, leaves
from tacit.server.witness.client import WitnessAddress, WitnessClient

GOVERNANCE = "governance"
CONSENT = "consent"

_ADD_LEAF = insert(leaves)
_ADD_CHECKPOINT = insert(checkpoints)
_CHECKPOINT = select(checkpoints.c.note).where(
    checkpoints.c.log == bindparam("of"), checkpoints.c.size == bindparam("at")
)
_COSIGN = (
    update(checkpoints)
    .where(checkpoints.c.log == bindparam("of"), checkpoints.c.size == bindparam("at"))
    .values(note=bindparam("cosigned"))
)


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

    The tree in memory runs ahead of what is durable only while a batch of transactions is open; one
    that fails truncates it back. Rows are written at the end of the batch, all at once.

    Attributes:
        name, origin: of the log.
        cosigning: where its published checkpoints come from; None where it has no witnesses.
    """

    def __init__(self, name: str, origin: str, key: SigningKey, lock: threading.RLock) -> None:
        self.name = name
        self.origin = origin
        self._key = key
        self._lock = lock
        self._tree = MerkleTree()
        self._durable = 0
        self._note = self._newest = self._sign(0)
        # Owned, with the connection, by whoever is inside a transaction.
        self._unwritten: list[bytes] = []
        self._writer: Connection | None = None
        self.cosigning: Cosigning | None = None

    def load(self, connection: Connection) -> None:
        """Rebuild the tree from the stored leaves and hold it against the stored checkpoint.

        Raises:
            StateCorrupt: if leaves are missing, or the latest checkpoint, signed by this node's
                key, does not stand for exactly these leaves.
        """
        query = select(leaves.c.position, leaves.c.data).where(leaves.c.log == self.name)
        hashes: list[bytes] = []
        for position, data in connection.execute(query.order_by(leaves.c.position)):
            if position != len(hashes):
                raise StateCorrupt(f"{self.name} log: leaf {len(hashes)} is missing")
            hashes.append(leaf_hash(data))
        tree = MerkleTree(hashes)
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
        self._tree, self._durable = tree, tree.size
        self._note = self._sign(tree.size)

    @property
    def size(self) -> int:
        """Number of leaves that are durable."""
        return self._durable

    @property
    def written(self) -> int:
        """Number of leaves with those of the open transaction; for whoever is inside it."""
        return self._tree.size

    def extends(self, earlier: Checkpoint) -> bool:
        """Say whether this log has the leaves of an earlier checkpoint of it, and went on."""
        with self._lock:
            return earlier.size <= self._durable and self._tree.root(earlier.size) == earlier.root

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first `size` leaves, or over all that are `written`.

        Raises:
            InvalidRequest: if the log never had `size` leaves.
        """
        with self._lock:
            if size is not None and not 0 <= size <= self._tree.size:
                raise InvalidRequest(f"expected a size up to {self._tree.size}, got {size}")
            return self._tree.root(size)

    def append(self, connection: Connection, data: bytes) -> int:
        """Append one leaf within the caller's `Logs.writing` transaction.

        Returns:
            The leaf's index.

        Raises:
            InvalidRequest: if the leaf exceeds 65,535 bytes.
        """
        if len(data) > MAX_ENTRY_BYTES:
            raise InvalidRequest(
                f"expected a log entry of at most {MAX_ENTRY_BYTES} bytes, got {len(data)}"
            )
        with self._lock:
            index = self._tree.append(leaf_hash(data))
        self._writer = connection
        self._unwritten.append(data)
        return index

    def write(self, connection: Connection) -> None:
        """Write the leaves that were appended, and a checkpoint for each size they brought."""
        rows, self._unwritten = self._unwritten, []
        if not rows:
            return
        start = self._tree.size - len(rows)
        connection.execute(
            _ADD_LEAF,
            [{"log": self.name, "position": start + n, "data": one} for n, one in enumerate(rows)],
        )
        signed = [(size, self._sign(size)) for size in range(start + 1, start + len(rows) + 1)]
        connection.execute(
            _ADD_CHECKPOINT,
            [{"log": self.name, "size": size, "note": note} for size, note in signed],
        )
        self._newest = signed[-1][1]

    def checkpoint(self, known_size: int) -> tuple[bytes, list[bytes]]:
        """Return the latest signed checkpoint and the consistency proof from `known_size`.

        Raises:
            InvalidRequest: if the log never had `known_size` leaves.
        """
        self.check_known(known_size)
        note, size = self._published(self.size)
        return note, self.consistency(known_size, size)

    def proof(self, index: int, known_size: int) -> Proof:
        """Prove that leaf `index` is under a checkpoint: the latest, or the latest cosigned.

        Raises:
            InvalidRequest: if there is no such leaf, or the log never had `known_size` leaves.
        """
        if not 0 <= index < self.size:
            raise InvalidRequest(f"expected a leaf below {self.size}, got {index}")
        self.check_known(known_size)
        note, size = self._published(max(index + 1, known_size))
        with self._lock:
            inclusion = self._tree.inclusion_proof(index, size)
            return Proof(index, inclusion, note, self._tree.consistency_proof(known_size, size))

    def check_known(self, known_size: int) -> None:
        """Check a size that a caller remembers; raises `InvalidRequest` if there never was one."""
        if not 0 <= known_size <= self.size:
            raise InvalidRequest(
                f"the {self.name} log has {self.size} leaves, fewer than the {known_size} "
                "the caller remembers"
            )

    def latest(self) -> tuple[bytes, int]:
        """Return the newest signed checkpoint that is durable, and its size."""
        with self._lock:
            return self._note, self._durable

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the consistency proof between two sizes that the log has had."""
        with self._lock:
            return self._tree.consistency_proof(old, new)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the audit path of leaf `index` at a size that the log has had."""
        with self._lock:
            return self._tree.inclusion_proof(index, size)

    def entries(self, connection: Connection, start: int, count: int) -> list[bytes]:
        """Return up to `count` leaves from `start` on, as this transaction sees them."""
        query = select(leaves.c.data).where(
            leaves.c.log == self.name,
            leaves.c.position >= start,
            leaves.c.position < start + count,
        )
        stored = list(connection.execute(query.order_by(leaves.c.position)).scalars())
        if connection is not self._writer or not self._unwritten:
            return stored
        first = self._tree.size - len(self._unwritten)
        return stored + self._unwritten[max(0, start - first) : max(0, start + count - first)]

    def rewind(self, size: int) -> None:
        """Undo the appends beyond `size`, whose transaction or turn in one was undone."""
        with self._lock:
            if (gone := self._tree.size - size) > 0:
                self._tree.truncate(size)
                del self._unwritten[max(0, len(self._unwritten) - gone) :]

    def rewind_to_durable(self) -> None:
        """Undo every append since the last commit."""
        self.rewind(self._durable)
        self._unwritten = []

    def follow_commit(self) -> None:
        """Let everybody see what was appended: it is durable now."""
        with self._lock:
            if self._durable != self._tree.size:
                self._durable, self._note = self._tree.size, self._newest

    def _published(self, at_least: int) -> tuple[bytes, int]:
        return self.latest() if self.cosigning is None else self.cosigning.published(at_least)

    def _sign(self, size: int) -> bytes:
        checkpoint = Checkpoint(self.origin, size, self._tree.root(size))
        return sign(checkpoint, self._key, self.origin)


class Logs:
    """Both logs of a node, kept in step with their database.

    Attributes:
        database: where everything is stored.
        governance, consent: the logs.
        identity: which ledger this is, for what officers sign.
    """

    def __init__(self, database: Database, origins: Mapping[str, str], key: SigningKey) -> None:
        """Load both logs; raises `StateCorrupt` if a stored log contradicts its checkpoint."""
        self._lock = threading.RLock()
        self.database = database
        self.identity = LedgerIdentity(origins[GOVERNANCE], key.public_key)
        self.governance = MerkleLog(GOVERNANCE, origins[GOVERNANCE], key, self._lock)
        self.consent = MerkleLog(CONSENT, origins[CONSENT], key, self._lock)
        with database.reading() as connection:
            self.governance.load(connection)
            self.consent.load(connection)
        self._forgetful: list[Callable[[], None]] = []
        self._losers: list[Callable[[], None]] = []
        self._followers: list[Callable[[], None]] = []
        self._followed, self._unfollowed = self.governance.size, Exception()
        database.observe(self)

    def on_rollback(self, forget: Callable[[], None]) -> None:
        """Have `forget` called when a caller's block failed, before the next one begins.

        For whoever keeps in memory what follows from rows: it is to be read from them again.
        """
        self._forgetful.append(forget)

    def on_loss(self, forget: Callable[[], None]) -> None:
        """Have `forget` called when blocks that had succeeded were lost with their commit.

        It must take back what any of them left in memory, not only the latest.
        """
        self._losers.append(forget)

    def on_commit(self, follow: Callable[[], None]) -> None:
        """Have `follow` called after each commit, before the next transaction or any answer.

        What it raises, the callers of the batch get, though their rows are durable; not those who
        only appended to the consent log, as nobody's withdrawal is to wait for the other log.
        """
        self._followers.append(follow)

    def witness(self, witnesses: Sequence[WitnessAddress]) -> None:
        """Have what both logs publish cosigned from now on.

        Raises:
            LogRolledBack: if a witness remembers another or a longer history of one of them.
        """
        if not witnesses:
            return
        for log in (self.governance, self.consent):
            clients = [WitnessClient(one) for one in witnesses]
            log.cosigning = Cosigning(log, clients, functools.partial(self._keep, log.name))
            try:
                log.cosigning.check_not_rolled_back()
            except LogRolledBack:
                self.close()
                raise

    def close(self) -> None:
        """Have the ends of both logs cosigned if they are not, and leave the witnesses."""
        for log in (self.governance, self.consent):
            if log.cosigning is not None:
                log.cosigning.published(log.size)
                log.cosigning.close()

    def _keep(self, name: str, size: int, note: bytes) -> None:
        """Store a cosigned checkpoint, unless the one that is there has more cosignatures."""
        with self.database.writing() as connection:
            stored = connection.execute(_CHECKPOINT, {"of": name, "at": size}).scalar_one_or_none()
            if stored is not None and len(stored.splitlines()) <= len(note.splitlines()):
                connection.execute(_COSIGN, {"of": name, "at": size, "cosigned": note})

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """Run one transaction over logs and tables: all of it becomes durable, or none.

        Blocks that come at once share one commit (`group_commit`); each returns after it.

        Crash points: before the commit returns, nothing happened for anyone; after it, the reply
        may be lost, and every caller's retry is answered from what was stored.
        """
        with self.database.writing() as connection:
            sizes = self.governance.written, self.consent.written
            try:
                yield connection
                governed = self.governance.written
                only_consent = sizes[0] == governed and sizes[1] < self.consent.written
            except BaseException:
                self.governance.rewind(sizes[0])
                self.consent.rewind(sizes[1])
                for forget in self._forgetful:
                    forget()
                raise
        if self._followed < governed and not only_consent:
            raise self._unfollowed

    def finish(self, connection: Connection) -> None:
        """Write the leaves of a batch; see `BatchObserver`."""
        self.governance.write(connection)
        self.consent.write(connection)

    def committed(self) -> None:
        """Show the leaves of a batch, and anchor them; see `BatchObserver`."""
        self.governance.follow_commit()
        self.consent.follow_commit()
        try:
            for follow in self._followers:
                follow()
        except Exception as error:  # noqa: BLE001 - for `writing` to raise, to those whom it concerns
            self._unfollowed = error
        else:
            self._followed = self.governance.size

    def lost(self) -> None:
        """Take back the leaves of a batch; see `BatchObserver`."""
        self.governance.rewind_to_durable()
        self.consent.rewind_to_durable()
        for forget in self._losers:
            forget()
