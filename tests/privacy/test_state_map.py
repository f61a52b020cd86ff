from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy.errors import BadParameter, BadProof
from tacit.privacy.state_map import (
    EMPTY_ROOT,
    StateMap,
    encode_proof,
    leaf_hash,
    node_hash,
    verify_absence,
    verify_value,
)

_VECTORS = Path(__file__).parent / "vectors"
VECTORS: dict[str, Any] = json.loads((_VECTORS / "state_map.json").read_text())


def _oracle() -> Any:
    spec = importlib.util.spec_from_file_location(
        "make_state_map_vectors", _VECTORS / "make_state_map_vectors.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ORACLE = _oracle()


def _verify(root: bytes, key: bytes, value: bytes | None, proof: bytes) -> None:
    if value is None:
        verify_absence(root, key, proof)
    else:
        verify_value(root, key, value, proof)


def _near(draw: Any) -> bytes:
    """Draw keys that share long prefixes as readily as keys that share none."""
    shared = draw(st.integers(0, 31))
    rest: bytes = draw(st.binary(min_size=32 - shared, max_size=32 - shared))
    return bytes(shared) + rest


keys = st.composite(_near)()
values = st.binary(min_size=32, max_size=32)
maps = st.dictionaries(keys, values, max_size=12)


def test_golden_roots() -> None:
    assert VECTORS["empty_root"] == EMPTY_ROOT.hex() == StateMap().root.hex()
    for vector in VECTORS["roots"]:
        entries = {bytes.fromhex(k): bytes.fromhex(v) for k, v in vector["entries"].items()}
        assert StateMap(entries).root.hex() == vector["root"], vector["what"]


def test_golden_proofs() -> None:
    assert {vector["valid"] for vector in VECTORS["proofs"]} == {True, False}
    for vector in VECTORS["proofs"]:
        value = None if vector["value"] is None else bytes.fromhex(vector["value"])
        arguments = bytes.fromhex(vector["root"]), bytes.fromhex(vector["key"]), value
        if vector["valid"]:
            _verify(*arguments, bytes.fromhex(vector["proof"]))
        else:
            with pytest.raises(BadProof):
                _verify(*arguments, bytes.fromhex(vector["proof"]))


def test_the_vectors_are_what_their_generator_writes() -> None:
    entries = {ORACLE.key_of(n): ORACLE.value_of(n) for n in range(13)}
    root = ORACLE.subtree("", entries)
    cases = ORACLE.bad_cases(root, entries)
    assert [one for one in VECTORS["proofs"] if not one["valid"]] == cases


@settings(max_examples=60, deadline=None)
@given(maps, st.lists(keys, max_size=4))
def test_agrees_with_the_definition(entries: dict[bytes, bytes], others: list[bytes]) -> None:
    built = StateMap(entries)
    root = ORACLE.subtree("", entries)
    assert (built.root, built.size) == (root, len(entries))
    for key in [*entries, *others]:
        value = entries.get(key)
        assert built.get(key) == value
        assert built.prove(key) == ORACLE.proof(key, entries)
        _verify(root, key, value, built.prove(key))


@settings(max_examples=80, deadline=None)
@given(maps, st.lists(st.dictionaries(keys, st.none() | values, max_size=6), max_size=4))
def test_updates_lead_where_building_anew_leads(
    entries: dict[bytes, bytes], steps: list[dict[bytes, bytes | None]]
) -> None:
    grown, held, first = StateMap(entries), dict(entries), StateMap(entries).root
    before = grown
    for changes in steps:
        grown = grown.updated({**changes, **dict.fromkeys(list(held)[:1])})
        for key, value in {**changes, **dict.fromkeys(list(held)[:1])}.items():
            held.pop(key, None)
            if value is not None:
                held[key] = value
        again = StateMap(held)
        assert (grown.root, grown.size) == (again.root, again.size)
        for key in held:
            assert grown.prove(key) == again.prove(key)
    assert before.root == first  # a map that was updated stays what it was


@settings(max_examples=60, deadline=None)
@given(maps.filter(bool), keys, st.data())
def test_no_root_answers_a_key_two_ways(
    entries: dict[bytes, bytes], key: bytes, data: st.DataObject
) -> None:
    """Hold every proof of the map, and every splice of two, against every other claim."""
    built = StateMap(entries)
    proofs = [built.prove(one) for one in [*entries, key]]
    one, other = data.draw(st.sampled_from(proofs)), data.draw(st.sampled_from(proofs))
    cut = data.draw(st.integers(0, len(one)))
    for proof in [*proofs, one[:cut] + other[cut:]]:
        for subject in [*entries, key]:
            for claim in [None, *entries.values()]:
                if claim != entries.get(subject):
                    with pytest.raises(BadProof):
                        _verify(built.root, subject, claim, proof)


def _mutations(rng: random.Random, count: int) -> None:
    entries = {rng.randbytes(32): rng.randbytes(32) for _ in range(200)}
    near = [bytes(30) + rng.randbytes(2) for _ in range(4)]
    entries.update({key: rng.randbytes(32) for key in near})
    built = StateMap(entries)
    subjects = [*list(entries)[:20], *near, *(rng.randbytes(32) for _ in range(20))]
    accepted = 0
    for _ in range(count):
        key = rng.choice(subjects)
        value = entries.get(key)
        parts = [built.root, key, value or b"", built.prove(key)]
        which = rng.choice([0, 1, 2, 3, 3, 3, 3]) if value else rng.choice([0, 1, 3, 3, 3])
        changed = bytearray(parts[which])
        changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
        parts[which] = bytes(changed)
        try:
            _verify(parts[0], parts[1], parts[2] if value else None, parts[3])
        except BadProof:
            continue
        # Another absent key on the same empty path is truly absent.
        accepted += not (which == 1 and value is None and parts[1] not in entries)
    assert accepted == 0


def test_no_flipped_byte_verifies() -> None:
    rng = random.Random(5)
    entries = {rng.randbytes(32): rng.randbytes(32) for _ in range(40)}
    entries[bytes(32)] = rng.randbytes(32)
    entries[bytes(31) + b"\1"] = rng.randbytes(32)
    built = StateMap(entries)
    for key in (next(iter(entries)), bytes(32), bytes(31) + b"\2", rng.randbytes(32)):
        proof, value = built.prove(key), entries.get(key)
        _verify(built.root, key, value, proof)
        for position in range(len(proof)):
            for bit in range(8):
                changed = bytearray(proof)
                changed[position] ^= 1 << bit
                with pytest.raises(BadProof):
                    _verify(built.root, key, value, bytes(changed))
        for length in range(len(proof)):
            with pytest.raises(BadProof):
                _verify(built.root, key, value, proof[:length])


def test_no_mutation_is_accepted() -> None:
    _mutations(random.Random(6), 5_000)


@pytest.mark.long
def test_no_mutation_of_a_hundred_thousand_is_accepted() -> None:
    _mutations(random.Random(7), 100_000)


def test_paths_are_short() -> None:
    rng = random.Random(8)
    entries = {rng.randbytes(32): rng.randbytes(32) for _ in range(4096)}
    built = StateMap(entries)
    lengths = [len(built.prove(key)) for key in entries]
    assert sum(lengths) / len(lengths) < (12 + 3) * 32
    assert max(lengths) < 40 * 32


def test_a_path_goes_as_deep_as_keys_are_long() -> None:
    low, high = bytes(32), bytes(31) + b"\1"
    built = StateMap({low: b"a" * 32, high: b"b" * 32})
    proof = built.prove(high)
    assert int.from_bytes(proof[:2], "big") == 256
    assert len(proof) == 2 + 32 + 32 + 1  # 255 siblings are empty and left out
    verify_value(built.root, high, b"b" * 32, proof)


def test_an_entry_lower_than_it_must_stand_is_refused() -> None:
    # Whoever makes a root may hang an entry beside nothing; such a map has no valid proof there.
    key, value = bytes(32), b"v" * 32
    root = node_hash(leaf_hash(key, value), EMPTY_ROOT)
    with pytest.raises(BadProof, match="beside something"):
        verify_value(root, key, value, encode_proof([EMPTY_ROOT], key, (key, value)))


def test_sizes_are_checked() -> None:
    for entries in ({b"short": bytes(32)}, {bytes(32): b"short"}):
        with pytest.raises(BadParameter):
            StateMap(entries)
    with pytest.raises(BadParameter):
        StateMap().prove(b"short")
    with pytest.raises(BadProof):
        verify_absence(EMPTY_ROOT, b"short", b"\0\0\0")
    with pytest.raises(BadProof):
        verify_value(EMPTY_ROOT, bytes(32), b"short", b"\0\0\1")
    verify_absence(EMPTY_ROOT, bytes(32), b"\0\0\0")
