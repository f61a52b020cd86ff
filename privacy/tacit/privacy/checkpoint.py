"""Checkpoints: the signed size and root of a log, as C2SP signed notes.

Format: https://c2sp.org/tlog-checkpoint over https://c2sp.org/signed-note, with a plain Ed25519
signature (type 0x01) over the note's text. Origins and key names are refused when they could make
the text collide with a domain-separated message of `tacit.privacy.signatures`.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from tacit.privacy.errors import BadParameter, BadSignature
from tacit.privacy.merkle import HASH_BYTES, MAX_SIZE
from tacit.privacy.signatures import SIGNATURE_BYTES, SigningKey, verify_note
from tacit.privacy.signed_note import (
    SignatureLine,
    check_key_name,
    decode_base64,
    key_hash,
    split_note,
)

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of one log.

    Attributes:
        origin: name of the log, for example `tacit.example/governance`.
        size: number of leaves.
        root: 32-byte RFC 6962 root over them.
    """

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text that is signed."""
        root = base64.b64encode(self.root).decode("ascii")
        return f"{self.origin}\n{self.size}\n{root}\n"


def sign(checkpoint: Checkpoint, key: SigningKey, name: str) -> bytes:
    """Sign a checkpoint under a key name; the same checkpoint always gives the same bytes.

    Raises:
        BadParameter: if origin or name is unusable, the size out of range or the root not 32 bytes.
    """
    check_key_name(checkpoint.origin)
    check_key_name(name)
    if not 0 <= checkpoint.size <= MAX_SIZE or len(checkpoint.root) != HASH_BYTES:
        raise BadParameter(f"expected a size in [0, 2^62] and a {HASH_BYTES}-byte root")
    text = checkpoint.text().encode("ascii")
    line = SignatureLine(name, key_hash(name, key.public_key), key.sign_note(text))
    return text + b"\n" + line.to_bytes()


def verify_checkpoint(note: bytes, origin: str, name: str, public_key: bytes) -> Checkpoint:
    """Verify a signed checkpoint of the log `origin`.

    Signatures by other keys (witnesses) may stand beside ours and are ignored.

    Raises:
        BadSignature: if the note is malformed, names another log, or has not exactly one
            signature by this key that verifies.
    """
    text, signatures = split_note(note)
    checkpoint = read_checkpoint(text)
    if checkpoint.origin != origin:
        raise BadSignature(f"expected a checkpoint of {origin}, got one of another log")
    expected_hash = key_hash(name, public_key)
    ours = [one for one in signatures if (one.name, one.key_hash) == (name, expected_hash)]
    if len(ours) != 1 or len(ours[0].signature) != SIGNATURE_BYTES:
        raise BadSignature(f"expected exactly one signature by {name}, got {len(ours)}")
    verify_note(public_key, text, ours[0].signature)
    return checkpoint


def read_checkpoint(text: bytes) -> Checkpoint:
    """Read the text of a checkpoint; its signatures are not looked at.

    Raises:
        BadSignature: if it is not origin, size and root on three lines.
    """
    lines = text.decode("utf-8").split("\n")
    if len(lines) != 4 or lines[3]:
        raise BadSignature("expected a checkpoint of three lines followed by its signatures")
    if not _SIZE.fullmatch(lines[1]) or int(lines[1]) > MAX_SIZE:
        raise BadSignature("expected the checkpoint's size in plain decimal digits")
    root = decode_base64(lines[2])
    if len(root) != HASH_BYTES:
        raise BadSignature(f"expected a checkpoint root of {HASH_BYTES} bytes")
    return Checkpoint(lines[0], int(lines[1]), root)
