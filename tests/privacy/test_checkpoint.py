from __future__ import annotations

import base64
import hashlib

import pytest

from tacit.privacy.checkpoint import Checkpoint, sign, verify_checkpoint
from tacit.privacy.errors import BadParameter, BadSignature
from tacit.privacy.merkle import EMPTY_ROOT
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import key_hash, verifier_key

KEY, OTHER = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
NAME = "test.example/log"
GOOD = Checkpoint(NAME, 42, hashlib.sha256(b"root").digest())


def test_a_signed_checkpoint_is_the_published_format() -> None:
    note = sign(GOOD, KEY, NAME).decode()
    text, _, trailer = note.partition("\n\n")
    assert text == f"{NAME}\n42\n{base64.b64encode(GOOD.root).decode()}"
    mark, name, encoded = trailer.rstrip("\n").split(" ")
    signature = base64.b64decode(encoded)
    assert (mark, name, len(signature)) == ("—", NAME, 68)
    expected = hashlib.sha256(NAME.encode() + b"\n\x01" + KEY.public_key).digest()[:4]
    assert signature[:4] == expected == key_hash(NAME, KEY.public_key)
    assert verifier_key(NAME, KEY.public_key).startswith(f"{NAME}+{expected.hex()}+A")
    assert sign(GOOD, KEY, NAME).decode() == note


def test_it_reads_back_beside_witnesses() -> None:
    note = sign(GOOD, KEY, NAME)
    witness = sign(GOOD, OTHER, "witness.example").partition(b"\n\n")[2]
    assert verify_checkpoint(note, NAME, NAME, KEY.public_key) == GOOD
    assert verify_checkpoint(note + witness, NAME, NAME, KEY.public_key) == GOOD
    empty = Checkpoint(NAME, 0, EMPTY_ROOT)
    assert verify_checkpoint(sign(empty, KEY, NAME), NAME, NAME, KEY.public_key) == empty


def test_bad_notes_are_refused() -> None:
    note = sign(GOOD, KEY, NAME)
    trailer = note.partition(b"\n\n")[2]
    bad = {
        "another origin": sign(Checkpoint("other", 42, GOOD.root), KEY, NAME),
        "another key": sign(GOOD, OTHER, NAME),
        "another name": sign(GOOD, KEY, "other"),
        "another size": note.replace(b"\n42\n", b"\n43\n"),
        "leading zero": note.replace(b"\n42\n", b"\n042\n"),
        "negative": note.replace(b"\n42\n", b"\n-42\n"),
        "signed twice": note + trailer,
        "no signature": note.partition(b"\n\n")[0] + b"\n\n",
        "no line end": note[:-1],
        "extension line": note.replace(b"\n\n", b"\nmore\n\n", 1),
        "hyphen for dash": note.replace("—".encode(), b"-"),
        "truncated": note[:40],
        "empty": b"",
        "not UTF-8": b"\xff" + note,
        "huge": note + trailer * 500,
        "stray line": note + b"garbage\n",
    }
    for data in bad.values():
        with pytest.raises(BadSignature):
            verify_checkpoint(data, NAME, NAME, KEY.public_key)


def test_every_flipped_byte_is_refused() -> None:
    note = bytearray(sign(GOOD, KEY, NAME))
    for position in range(len(note)):
        note[position] ^= 1
        with pytest.raises(BadSignature):
            verify_checkpoint(bytes(note), NAME, NAME, KEY.public_key)
        note[position] ^= 1


def test_names_that_could_collide_are_not_signed() -> None:
    for origin in ("tacit/v1/request", "a b", "a+b", "", "a\n", "é"):
        with pytest.raises(BadParameter):
            sign(Checkpoint(origin, 1, GOOD.root), KEY, NAME)
    with pytest.raises(BadParameter):
        sign(Checkpoint(NAME, -1, GOOD.root), KEY, NAME)
    with pytest.raises(BadParameter):
        sign(Checkpoint(NAME, 1, b"short"), KEY, NAME)
    for text in (b"tacit/v1/request\0body", b"a\0b"):
        with pytest.raises(BadParameter):
            KEY.sign_note(text)
