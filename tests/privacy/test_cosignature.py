"""Cosignatures and the witness's rule, against the specification spelled out by hand."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tacit.privacy.add_checkpoint import MAX_PROOF_LINES, AddCheckpoint, check_extends
from tacit.privacy.checkpoint import Checkpoint, sign, verify_checkpoint
from tacit.privacy.cosignature import (
    Quorum,
    Witness,
    cosign,
    verify_cosignature,
    verify_witnessed,
    witnesses_of,
)
from tacit.privacy.errors import (
    BadDocument,
    BadParameter,
    BadProof,
    BadSignature,
    RollbackDetected,
)
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import SignatureLine, split_note

LOG, ORIGIN = SigningKey(b"\1" * 32), "log.example/governance"
KEYS = [SigningKey(bytes([40 + i]) * 32) for i in range(3)]
WITNESSES = tuple(Witness(f"witness.example/w{i}", key.public_key) for i, key in enumerate(KEYS))
TREE = MerkleTree(leaf_hash(str(i).encode()) for i in range(300))


def note_at(size: int) -> bytes:
    return sign(Checkpoint(ORIGIN, size, TREE.root(size)), LOG, ORIGIN)


def cosigned(note: bytes, *numbers: int, time_s: int = 1_700_000_000) -> bytes:
    text, _ = split_note(note)
    for number in numbers:
        note += cosign(text, KEYS[number], WITNESSES[number].name, time_s).to_bytes()
    return note


def test_a_cosignature_is_the_published_format() -> None:
    note = cosigned(note_at(42), 0)
    lines = note.decode().rstrip("\n").split("\n")
    mark, name, encoded = lines[-1].split(" ")
    raw = base64.b64decode(encoded)
    assert (mark, name, len(raw)) == ("—", "witness.example/w0", 4 + 8 + 64)
    public_key = KEYS[0].public_key
    assert raw[:4] == hashlib.sha256(name.encode() + b"\n\x04" + public_key).digest()[:4]
    (time_s,) = struct.unpack(">Q", raw[4:12])
    message = f"cosignature/v1\ntime {time_s}\n" + "\n".join(lines[:3]) + "\n"
    Ed25519PublicKey.from_public_bytes(public_key).verify(raw[12:], message.encode())
    assert time_s == 1_700_000_000


def test_the_example_of_the_specification_has_this_shape() -> None:
    # From https://c2sp.org/tlog-cosignature; its keys are not published, its layout is.
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhc"
        "yv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe"
        "9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    ).encode()
    text, lines = split_note(note)
    assert text.endswith(b"jxq2I=\n")
    assert [len(one.signature) for one in lines] == [64, 72]
    assert struct.unpack(">Q", lines[1].signature[:8]) == (1679315147,)


def test_a_quorum_counts_each_witness_once() -> None:
    note = cosigned(note_at(42), 0, 0, 1)
    assert witnesses_of(note, WITNESSES) == dict.fromkeys(
        ("witness.example/w0", "witness.example/w1"), 1_700_000_000
    )
    for threshold in (0, 1, 2):
        checked = verify_witnessed(
            note, ORIGIN, ORIGIN, LOG.public_key, Quorum(WITNESSES, threshold)
        )
        assert checked == Checkpoint(ORIGIN, 42, TREE.root(42))
    with pytest.raises(BadSignature, match="at least 3 of 3 witnesses, got 2"):
        verify_witnessed(note, ORIGIN, ORIGIN, LOG.public_key, Quorum(WITNESSES, 3))
    # The log's own signature is still needed, whoever else signed.
    assert verify_checkpoint(note, ORIGIN, ORIGIN, LOG.public_key).size == 42
    text, lines = split_note(note)
    without = text + b"\n" + b"".join(one.to_bytes() for one in lines[1:])
    with pytest.raises(BadSignature):
        verify_witnessed(without, ORIGIN, ORIGIN, LOG.public_key, Quorum(WITNESSES, 1))


def test_a_cosignature_of_anything_else_counts_for_nothing() -> None:
    text, _ = split_note(note_at(42))
    other, _ = split_note(note_at(43))
    good = cosign(text, KEYS[0], WITNESSES[0].name, 7)
    assert verify_cosignature(text, good, WITNESSES[0]) == 7
    moved = struct.pack(">Q", 8) + good.signature[8:]
    bad = {
        "another checkpoint": cosign(other, KEYS[0], WITNESSES[0].name, 7),
        "another key": cosign(text, KEYS[1], WITNESSES[0].name, 7),
        "another name": cosign(text, KEYS[0], "witness.example/w9", 7),
        "another time": SignatureLine(good.name, good.key_hash, moved),
        "a plain signature": SignatureLine(good.name, good.key_hash, KEYS[0].sign_note(text)),
        "a time beyond 2^63": SignatureLine(
            good.name, good.key_hash, b"\xff" * 8 + good.signature[8:]
        ),
        "empty": SignatureLine(good.name, good.key_hash, b""),
    }
    for line in bad.values():
        with pytest.raises(BadSignature):
            verify_cosignature(text, line, WITNESSES[0])
        assert witnesses_of(text + b"\n" + line.to_bytes(), WITNESSES[:1]) == {}


@given(st.integers(0, 8 * 72 - 1))
def test_no_flipped_bit_of_a_cosignature_verifies(bit: int) -> None:
    text, _ = split_note(note_at(42))
    good = cosign(text, KEYS[0], WITNESSES[0].name, 1_700_000_000)
    raw = bytearray(good.signature)
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature):
        verify_cosignature(text, SignatureLine(good.name, good.key_hash, bytes(raw)), WITNESSES[0])


def test_witnesses_are_named_by_their_verifier_keys() -> None:
    for witness in WITNESSES:
        assert Witness.parse(witness.verifier_key) == witness
    name, stated, encoded = WITNESSES[0].verifier_key.split("+", 2)
    for text in (
        "",
        name,
        f"{name}+{stated}",
        f"{name}+00000000+{encoded}",
        f"other+{stated}+{encoded}",
        f"{name}+{stated}+{encoded[:-4]}",
        f"{name}+{stated}+A{encoded[1:]}",
        f"a b+{stated}+{encoded}",
    ):
        with pytest.raises(BadParameter):
            Witness.parse(text)
    for witnesses, threshold in (
        (WITNESSES, 4),
        (WITNESSES, -1),
        (WITNESSES, True),
        ((WITNESSES[0], WITNESSES[0]), 1),
        ((WITNESSES[0], Witness("other", WITNESSES[0].public_key)), 1),
    ):
        with pytest.raises(BadParameter):
            Quorum(witnesses, threshold)
    with pytest.raises(BadParameter):
        cosign(b"", KEYS[0], "a b", 1)
    with pytest.raises(BadParameter):
        cosign(b"", KEYS[0], "a", 1 << 63)


@given(st.integers(0, 300), st.integers(0, 300))
def test_requests_survive_the_wire_and_honest_growth_is_cosigned(one: int, other: int) -> None:
    old, new = sorted((one, other))
    proof = tuple(TREE.consistency_proof(old, new)) if old else ()
    request = AddCheckpoint(old, proof, note_at(new))
    assert AddCheckpoint.parse(request.to_bytes()) == request
    known = Checkpoint(ORIGIN, old, TREE.root(old)) if old else None
    check_extends(known, request, Checkpoint(ORIGIN, new, TREE.root(new)))


def test_a_log_that_shrank_or_forked_is_not_cosigned() -> None:
    fork = MerkleTree(leaf_hash(b"fork %d" % i) for i in range(300))
    known = Checkpoint(ORIGIN, 100, TREE.root(100))
    honest = tuple(TREE.consistency_proof(100, 200))
    cases: list[tuple[AddCheckpoint, Checkpoint, type[Exception]]] = [
        # A size the witness does not remember: 409, so that the log learns the right one.
        (AddCheckpoint(99, honest, b""), Checkpoint(ORIGIN, 200, TREE.root(200)), RollbackDetected),
        (AddCheckpoint(0, (), b""), Checkpoint(ORIGIN, 50, TREE.root(50)), RollbackDetected),
        (AddCheckpoint(100, (), b""), Checkpoint(ORIGIN, 100, fork.root(100)), RollbackDetected),
        (AddCheckpoint(100, (), b""), Checkpoint(ORIGIN, 99, TREE.root(99)), BadDocument),
        (AddCheckpoint(100, honest, b""), Checkpoint(ORIGIN, 200, fork.root(200)), BadProof),
        (
            AddCheckpoint(100, tuple(fork.consistency_proof(100, 200)), b""),
            Checkpoint(ORIGIN, 200, fork.root(200)),
            BadProof,
        ),
        (AddCheckpoint(100, honest[:-1], b""), Checkpoint(ORIGIN, 200, TREE.root(200)), BadProof),
        (AddCheckpoint(100, honest, b""), Checkpoint(ORIGIN, 100, TREE.root(100)), BadProof),
    ]
    for request, checkpoint, error in cases:
        with pytest.raises(error):
            check_extends(known, request, checkpoint)
    with pytest.raises(BadProof):
        check_extends(None, AddCheckpoint(0, honest, b""), Checkpoint(ORIGIN, 5, TREE.root(5)))
    with pytest.raises(BadProof):
        check_extends(None, AddCheckpoint(0, (), b""), Checkpoint(ORIGIN, 0, TREE.root(5)))


def test_malformed_requests_are_refused() -> None:
    line = base64.b64encode(bytes(32)) + b"\n"
    note = note_at(3)
    for body in (
        b"",
        note,
        b"old 1\n" + note,
        b"old 01\n\n" + note,
        b"old -1\n\n" + note,
        b"old 99999999999999999999\n\n" + note,
        b"new 1\n\n" + note,
        b"old 1\n" + line[:-3] + b"\n\n" + note,
        b"old 1\n" + base64.b64encode(bytes(31)) + b"\n\n" + note,
        b"old 1\n" + line * (MAX_PROOF_LINES + 1) + b"\n" + note,
        b"old 1\n\xff\n\n" + note,
        b"old 1\n\n" + b"x" * 40_000,
    ):
        with pytest.raises(BadDocument):
            AddCheckpoint.parse(body)
