"""Signed notes: a text and the signature lines under it, as C2SP defines them.

Format: https://c2sp.org/signed-note. The text ends in a newline; an empty line follows, then one
line a signature, `— <key name> base64(4-byte key id ‖ signature)`. Who signed is looked up by name
and key id together; lines by anybody else stand beside ours and are ignored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from tacit.privacy.errors import BadParameter, BadSignature

MAX_NOTE_BYTES = 16_384
KEY_HASH_BYTES = 4
ED25519 = b"\x01"
"""Signature type of a plain Ed25519 signature over the text."""

_NAME = re.compile(r"[!-*,-~]{1,200}")  # printable ASCII without space or '+'


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line under a note.

    Attributes:
        name: key name.
        key_hash: 4-byte key id.
        signature: what follows it; its shape depends on the key's type.
    """

    name: str
    key_hash: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the line, its newline included."""
        encoded = base64.b64encode(self.key_hash + self.signature).decode("ascii")
        return f"— {self.name} {encoded}\n".encode()


def key_hash(name: str, public_key: bytes, kind: bytes = ED25519) -> bytes:
    """Return the 4-byte key id: SHA-256(name ‖ 0x0A ‖ type ‖ key)[:4]."""
    digest = hashlib.sha256(name.encode("ascii") + b"\n" + kind + public_key).digest()
    return digest[:KEY_HASH_BYTES]


def verifier_key(name: str, public_key: bytes, kind: bytes = ED25519) -> str:
    """Return the key in the text form C2SP tools read: `name+hash+base64(type ‖ key)`."""
    encoded = base64.b64encode(kind + public_key).decode("ascii")
    return f"{name}+{key_hash(name, public_key, kind).hex()}+{encoded}"


def read_verifier_key(text: str, kind: bytes = ED25519) -> tuple[str, bytes]:
    """Read a key in the text form C2SP tools write.

    Returns:
        The key's name and its 32 raw bytes.

    Raises:
        BadParameter: if it is malformed, of another type, or its hash does not fit.
    """
    name, _, rest = text.partition("+")
    stated, _, encoded = rest.partition("+")
    try:
        material = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        material = b""
    check_key_name(name)
    if len(material) != 33 or material[:1] != kind:
        raise BadParameter(
            f"verifier key of {name}: expected name+hash+base64 of a key of type 0x{kind.hex()}"
        )
    if stated != key_hash(name, material[1:], kind).hex():
        raise BadParameter(f"verifier key of {name}: its hash is not of this name and key")
    return name, material[1:]


def check_key_name(name: str) -> None:
    """Refuse names that could not stand in a note, or could make it another signed message.

    Raises:
        BadParameter: if the name is not printable ASCII without space and '+'.
    """
    if not _NAME.fullmatch(name) or name.startswith("tacit/v1/"):
        raise BadParameter("expected a name of printable ASCII without spaces or '+'")


def split_note(note: bytes) -> tuple[bytes, tuple[SignatureLine, ...]]:
    """Split a note into the text that is signed, newline included, and its signature lines.

    Raises:
        BadSignature: if the note is too long or malformed; no signature is checked here.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise BadSignature(f"expected a checkpoint of at most {MAX_NOTE_BYTES} bytes")
    try:
        text, _, trailer = note.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise BadSignature("expected a checkpoint in UTF-8") from None
    return (text + "\n").encode("utf-8"), read_signature_lines(trailer)


def read_signature_lines(trailer: str) -> tuple[SignatureLine, ...]:
    """Read one or more signature lines.

    Raises:
        BadSignature: if there is none, or one is malformed.
    """
    if not trailer.endswith("\n"):
        raise BadSignature("expected a text followed by its signature lines")
    lines: list[SignatureLine] = []
    for line in trailer[:-1].split("\n"):
        mark, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if mark != "—" or not name:
            raise BadSignature("expected signature lines of the form '— name base64'")
        raw = decode_base64(encoded)
        lines.append(SignatureLine(name, raw[:KEY_HASH_BYTES], raw[KEY_HASH_BYTES:]))
    return tuple(lines)


def decode_base64(text: str) -> bytes:
    """Decode canonical base64: one spelling of every value, so that no byte of a note is free.

    Raises:
        BadSignature: if it is no base64, or not the canonical spelling.
    """
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("expected base64 in the checkpoint") from None
    if base64.b64encode(value).decode("ascii") != text:
        raise BadSignature("expected canonical base64 in the checkpoint")
    return value
