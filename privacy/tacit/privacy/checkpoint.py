"""Checkpoints: the signed size and root of a log, as C2SP signed notes.

Format: https://c2sp.org/tlog-checkpoint over https://c2sp.org/signed-note, with a plain Ed25519
signature (type 0x01) over the note's text. Origins and key names are refused when they could make
the text collide with a domain-separated message of `tacit.privacy.signatures`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from tacit.privacy.errors import BadParameter, BadSignature
from tacit.privacy.merkle import HASH_BYTES, MAX_SIZE
from tacit.privacy.signatures import SIGNATURE_BYTES, SigningKey, verify_note

MAX_NOTE_BYTES = 16_384
_ED25519 = b"\x01"
_NAME = re.compile(r"[!-*,-~]{1,200}")  # printable ASCII without space or '+'
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


def key_hash(name: str, public_key: bytes) -> bytes:
    """Return the 4-byte key id of signed notes: SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key)[:4]."""
    return hashlib.sha256(name.encode("ascii") + b"\n" + _ED25519 + public_key).digest()[:4]


def verifier_key(name: str, public_key: bytes) -> str:
    """Return the key in the text form C2SP tools read: `name+hash+base64(type ‖ key)`."""
    encoded = base64.b64encode(_ED25519 + public_key).decode("ascii")
    return f"{name}+{key_hash(name, public_key).hex()}+{encoded}"


def sign(checkpoint: Checkpoint, key: SigningKey, name: str) -> bytes:
    """Sign a checkpoint under a key name; the same checkpoint always gives the same bytes.

    Raises:
        BadParameter: if origin or name is unusable, the size out of range or the root not 32 bytes.
    """
    _check_name(checkpoint.origin)
    _check_name(name)
    if not 0 <= checkpoint.size <= MAX_SIZE or len(checkpoint.root) != HASH_BYTES:
        raise BadParameter(f"expected a size in [0, 2^62] and a {HASH_BYTES}-byte root")
    text = checkpoint.text()
    signature = key_hash(name, key.public_key) + key.sign_note(text.encode("ascii"))
    return f"{text}\n— {name} {base64.b64encode(signature).decode('ascii')}\n".encode()


def stated_checkpoint(note: bytes) -> Checkpoint:
    """Read what a note states, without its signatures: for who got it over a channel it trusts.

    Raises:
        BadSignature: if the note is malformed.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise BadSignature(f"expected a checkpoint of at most {MAX_NOTE_BYTES} bytes")
    lines = note.decode("utf-8", "replace").partition("\n\n")[0].split("\n")
    if len(lines) != 3 or not _SIZE.fullmatch(lines[1]) or int(lines[1]) > MAX_SIZE:
        raise BadSignature("expected a checkpoint of an origin, a size and a root")
    root = _decode(lines[2])
    if len(root) != HASH_BYTES:
        raise BadSignature(f"expected a checkpoint root of {HASH_BYTES} bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def verify_checkpoint(note: bytes, origin: str, name: str, public_key: bytes) -> Checkpoint:
    """Verify a signed checkpoint of the log `origin`.

    Signatures by other keys (witnesses) may stand beside ours and are ignored.

    Raises:
        BadSignature: if the note is malformed, names another log, or has not exactly one
            signature by this key that verifies.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise BadSignature(f"expected a checkpoint of at most {MAX_NOTE_BYTES} bytes")
    try:
        text, _, trailer = note.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise BadSignature("expected a checkpoint in UTF-8") from None
    lines = text.split("\n")
    if len(lines) != 3 or not trailer.endswith("\n"):
        raise BadSignature("expected a checkpoint of three lines followed by its signatures")
    if lines[0] != origin:
        raise BadSignature(f"expected a checkpoint of {origin}, got one of another log")
    if not _SIZE.fullmatch(lines[1]) or int(lines[1]) > MAX_SIZE:
        raise BadSignature("expected the checkpoint's size in plain decimal digits")
    root = _decode(lines[2])
    if len(root) != HASH_BYTES:
        raise BadSignature(f"expected a checkpoint root of {HASH_BYTES} bytes")
    expected_hash = key_hash(name, public_key)
    ours: list[bytes] = []
    for line in trailer[:-1].split("\n"):
        mark, _, rest = line.partition(" ")
        signer, _, encoded = rest.partition(" ")
        if mark != "—" or not signer:
            raise BadSignature("expected signature lines of the form '— name base64'")
        signature = _decode(encoded)
        if signer == name and signature[:4] == expected_hash:
            ours.append(signature[4:])
    if len(ours) != 1 or len(ours[0]) != SIGNATURE_BYTES:
        raise BadSignature(f"expected exactly one signature by {name}, got {len(ours)}")
    verify_note(public_key, (text + "\n").encode("utf-8"), ours[0])
    return Checkpoint(origin, int(lines[1]), root)


def _decode(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("expected base64 in the checkpoint") from None
    if base64.b64encode(value).decode("ascii") != text:
        raise BadSignature("expected canonical base64 in the checkpoint")
    return value


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.startswith("tacit/v1/"):
        raise BadParameter("expected a name of printable ASCII without spaces or '+'")
