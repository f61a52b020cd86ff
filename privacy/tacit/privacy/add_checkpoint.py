"""What a log asks of a witness, and when the witness may say yes.

Protocol: https://c2sp.org/tlog-witness, call `add-checkpoint`. The request is the size the log
believes the witness last cosigned, the consistency proof from there, and the new checkpoint:

    old <size>
    <base64 hash>            zero to 63 of them

    <signed checkpoint>
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from tacit.privacy.checkpoint import Checkpoint
from tacit.privacy.errors import BadDocument, BadProof, BadSignature, RollbackDetected
from tacit.privacy.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, verify_consistency
from tacit.privacy.signed_note import MAX_NOTE_BYTES, decode_base64

MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 64 * 64
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """One request.

    Attributes:
        old_size: size of the tree the proof starts from.
        consistency: RFC 6962 consistency proof from `old_size` to the checkpoint, 32 bytes each.
        checkpoint: the signed note.
    """

    old_size: int
    consistency: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """Return the body of the request."""
        proof = "".join(f"{base64.b64encode(one).decode('ascii')}\n" for one in self.consistency)
        return f"old {self.old_size}\n{proof}\n".encode("ascii") + self.checkpoint

    @classmethod
    def parse(cls, body: bytes) -> AddCheckpoint:
        """Read the body of a request; the checkpoint in it is not read yet.

        Raises:
            BadDocument: if it is not of the form above.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise BadDocument(f"expected a request of at most {MAX_REQUEST_BYTES} bytes")
        head, separator, note = body.partition(b"\n\n")
        try:
            first, *proof = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise BadDocument("expected an old size and a proof in ASCII") from None
        old = _OLD.fullmatch(first)
        if old is None or int(old[1]) > MAX_SIZE or not separator:
            raise BadDocument("expected 'old <size>', proof lines, an empty line, a checkpoint")
        if len(proof) > MAX_PROOF_LINES:
            raise BadDocument(f"expected at most {MAX_PROOF_LINES} proof lines, got {len(proof)}")
        try:
            hashes = tuple(decode_base64(line) for line in proof)
        except BadSignature:
            hashes = (b"",)
        if any(len(one) != HASH_BYTES for one in hashes):
            raise BadDocument(f"expected proof lines of {HASH_BYTES} bytes in base64")
        return cls(int(old[1]), hashes, note)


def check_extends(known: Checkpoint | None, request: AddCheckpoint, checkpoint: Checkpoint) -> None:
    """Check that a witness which cosigned `known` last may cosign `checkpoint`.

    Args:
        known: the checkpoint it cosigned last for this origin, None for none.
        request: what was asked.
        checkpoint: the checkpoint in the request, its signature verified.

    Raises:
        BadDocument: if the old size is beyond the checkpoint's (HTTP 400).
        RollbackDetected: if the old size is not that of `known`, or the trees have one size and
            two roots (HTTP 409).
        BadProof: if the proof does not lead from one to the other (HTTP 422).
    """
    if request.old_size > checkpoint.size:
        raise BadDocument(
            f"expected an old size of at most {checkpoint.size}, got {request.old_size}"
        )
    size = known.size if known is not None else 0
    if request.old_size != size:
        raise RollbackDetected(f"expected the old size {size}, got {request.old_size}")
    if known is None or size == 0:
        if request.consistency or (checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT):
            raise BadProof("expected no proof from size 0, and the empty tree's root at it")
        return
    if checkpoint.size == size:
        if checkpoint.root != known.root:
            raise RollbackDetected(f"two roots at size {size}: the log shows two histories")
        if request.consistency:
            raise BadProof("expected no proof between equal sizes")
        return
    verify_consistency(size, known.root, checkpoint.size, checkpoint.root, request.consistency)
