"""Cosignatures: what a witness says of a checkpoint, so that no log can show two histories.

Format: https://c2sp.org/tlog-cosignature, Ed25519 (signature type 0x04). A witness signs

    cosignature/v1
    time <POSIX seconds>
    <the three lines of the checkpoint>

and so states that, at that time, this was the largest tree of the log it had seen, and that it
extends every earlier one it cosigned. A reader who demands `quorum` of its witnesses is shown a
fork only if that many of them help the log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from tacit.privacy.checkpoint import Checkpoint, verify_checkpoint
from tacit.privacy.errors import BadParameter, BadSignature
from tacit.privacy.signatures import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    SigningKey,
    verify_note,
)
from tacit.privacy.signed_note import (
    SignatureLine,
    check_key_name,
    key_hash,
    read_verifier_key,
    split_note,
    verifier_key,
)

COSIGNATURE = b"\x04"
"""Signature type of an Ed25519 cosignature."""

MAX_TIME_S = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness that somebody trusts.

    Attributes:
        name: its key name, by convention a URL without scheme.
        public_key: 32-byte Ed25519 key, used for cosignatures only.

    Raises:
        BadParameter: if the name cannot stand in a note or the key has another length.
    """

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise BadParameter(f"witness {self.name}: expected a {PUBLIC_KEY_BYTES}-byte key")

    @classmethod
    def parse(cls, text: str) -> Witness:
        """Read a witness's verifier key, `name+hash+base64`; raises `BadParameter`."""
        return cls(*read_verifier_key(text, COSIGNATURE))

    @property
    def verifier_key(self) -> str:
        """Return the key in the text form other C2SP tools read."""
        return verifier_key(self.name, self.public_key, COSIGNATURE)

    @property
    def key_hash(self) -> bytes:
        """Return the 4-byte key id of its cosignatures."""
        return key_hash(self.name, self.public_key, COSIGNATURE)


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many of which witnesses must have seen a checkpoint.

    Attributes:
        witnesses: all that count, each name and key once.
        threshold: at least this many; 0 accepts a checkpoint that nobody else has seen.

    Raises:
        BadParameter: if a witness is named twice, or the threshold cannot be reached.
    """

    witnesses: tuple[Witness, ...] = ()
    threshold: int = 0

    def __post_init__(self) -> None:
        keys = {one.public_key for one in self.witnesses}
        if len({one.name for one in self.witnesses}) != len(self.witnesses) or len(keys) != len(
            self.witnesses
        ):
            raise BadParameter("witnesses: expected every name and every key once")
        if isinstance(self.threshold, bool) or not 0 <= self.threshold <= len(self.witnesses):
            raise BadParameter(
                f"witness quorum: expected 0 to {len(self.witnesses)}, the witnesses named, "
                f"got {self.threshold}"
            )


NO_QUORUM = Quorum()
"""Nobody need have cosigned."""


def cosign(text: bytes, key: SigningKey, name: str, time_s: int) -> SignatureLine:
    """Cosign the text of a checkpoint that was verified to extend what this witness saw.

    Args:
        text: the checkpoint's three lines, newline included.
        key: the witness's key.
        name: its key name.
        time_s: POSIX seconds.

    Raises:
        BadParameter: if the name is unusable or the time out of range.
    """
    check_key_name(name)
    if not 0 <= time_s <= MAX_TIME_S:
        raise BadParameter("cosignature: expected a time in [0, 2^63)")
    signature = struct.pack(">Q", time_s) + key.sign_note(_signed(text, time_s))
    return SignatureLine(name, key_hash(name, key.public_key, COSIGNATURE), signature)


def verify_cosignature(text: bytes, line: SignatureLine, witness: Witness) -> int:
    """Verify one cosignature on the text of a checkpoint.

    Returns:
        The POSIX time, in seconds, at which it was given, as the witness says.

    Raises:
        BadSignature: if the line is not this witness's, malformed, or does not verify.
    """
    if (line.name, line.key_hash) != (witness.name, witness.key_hash):
        raise BadSignature(f"expected a cosignature by {witness.name}")
    if len(line.signature) != 8 + SIGNATURE_BYTES:
        raise BadSignature(f"expected a cosignature of {8 + SIGNATURE_BYTES} bytes")
    (time_s,) = struct.unpack(">Q", line.signature[:8])
    if time_s > MAX_TIME_S:
        raise BadSignature("expected a cosignature with a time below 2^63")
    verify_note(witness.public_key, _signed(text, time_s), line.signature[8:])
    return int(time_s)


def witnesses_of(note: bytes, witnesses: Iterable[Witness]) -> dict[str, int]:
    """Return which of these witnesses cosigned a note, and when in POSIX seconds.

    A line under a known name that does not verify counts as no cosignature: anybody can add lines.

    Raises:
        BadSignature: if the note is malformed.
    """
    text, lines = split_note(note)
    seen: dict[str, int] = {}
    for witness in witnesses:
        for line in lines:
            if (line.name, line.key_hash) != (witness.name, witness.key_hash):
                continue
            try:
                seen[witness.name] = verify_cosignature(text, line, witness)
            except BadSignature:
                continue
    return seen


def verify_witnessed(
    note: bytes, origin: str, name: str, public_key: bytes, quorum: Quorum
) -> Checkpoint:
    """Verify a checkpoint's own signature, and that a quorum of witnesses cosigned it.

    Raises:
        BadSignature: as `verify_checkpoint`, or if too few of the quorum's witnesses cosigned it.
    """
    checkpoint = verify_checkpoint(note, origin, name, public_key)
    if quorum.threshold:
        seen = witnesses_of(note, quorum.witnesses)
        if len(seen) < quorum.threshold:
            raise BadSignature(
                f"expected cosignatures of at least {quorum.threshold} of "
                f"{len(quorum.witnesses)} witnesses, got {len(seen)}"
            )
    return checkpoint


def _signed(text: bytes, time_s: int) -> bytes:
    return b"cosignature/v1\ntime " + str(time_s).encode("ascii") + b"\n" + text
