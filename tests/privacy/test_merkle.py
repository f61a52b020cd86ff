from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy.errors import BadParameter, BadProof
from tacit.privacy.merkle import (
    EMPTY_ROOT,
    MerkleTree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "vectors" / "merkle.json").read_text()
)


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(index.to_bytes(4, "big")) for index in range(count)]


def unhex(values: list[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def test_golden_roots() -> None:
    for vector in VECTORS["roots"]:
        hashes = [leaf_hash(data) for data in unhex(vector["leaves"])]
        assert root(hashes).hex() == vector["root"]


def test_golden_inclusion() -> None:
    assert {vector["valid"] for vector in VECTORS["inclusion"]} == {True, False}
    for vector in VECTORS["inclusion"]:
        arguments = (
            bytes.fromhex(vector["leaf"]),
            vector["index"],
            vector["size"],
            unhex(vector["proof"]),
            bytes.fromhex(vector["root"]),
        )
        if vector["valid"]:
            verify_inclusion(*arguments)
        else:
            with pytest.raises(BadProof):
                verify_inclusion(*arguments)


def test_golden_consistency() -> None:
    for vector in VECTORS["consistency"]:
        arguments = (
            vector["old_size"],
            bytes.fromhex(vector["old_root"]),
            vector["new_size"],
            bytes.fromhex(vector["new_root"]),
            unhex(vector["proof"]),
        )
        if vector["valid"]:
            verify_consistency(*arguments)
        else:
            with pytest.raises(BadProof):
                verify_consistency(*arguments)


def test_our_proofs_are_the_golden_ones() -> None:
    hashes = [leaf_hash(data) for data in unhex(VECTORS["roots"][-1]["leaves"])]
    for vector in VECTORS["inclusion"]:
        if vector["valid"]:
            ours = inclusion_proof(hashes, vector["index"], vector["size"])
            assert ours == unhex(vector["proof"])
    for vector in VECTORS["consistency"]:
        if vector["valid"]:
            ours = consistency_proof(hashes, vector["old_size"], vector["new_size"])
            assert ours == unhex(vector["proof"])


def test_roots_agree_with_an_independent_library() -> None:
    pymerkle: Any = importlib.import_module("pymerkle")
    oracle, tree = pymerkle.InmemoryTree(algorithm="sha256"), MerkleTree()
    for index in range(130):
        data = index.to_bytes(4, "big")
        oracle.append_entry(data)
        tree.append(leaf_hash(data))
        assert tree.root() == oracle.get_root()
        assert tree.root(index // 2 + 1) == oracle.get_root(index // 2 + 1)


def test_all_proofs_around_powers_of_two_verify() -> None:
    tree = MerkleTree(leaves(66))
    for size in (1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 63, 64, 65, 66):
        whole = tree.root(size)
        for index in range(size):
            verify_inclusion(
                tree.leaf(index), index, size, tree.inclusion_proof(index, size), whole
            )
        for old in range(size + 1):
            proof = tree.consistency_proof(old, size)
            verify_consistency(old, tree.root(old), size, whole, proof)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 80))
    index = data.draw(st.integers(0, size - 1))
    tree = MerkleTree(leaves(size))
    proof, whole = tree.inclusion_proof(index), tree.root()
    what = data.draw(st.sampled_from(["flip", "drop", "add", "index", "root", "leaf"]))
    leaf, position = tree.leaf(index), index
    if what == "flip" and proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        bit = data.draw(st.integers(0, 255))
        changed = int.from_bytes(proof[place], "big") ^ (1 << bit)
        proof[place] = changed.to_bytes(32, "big")
    elif what == "drop" and proof:
        del proof[data.draw(st.integers(0, len(proof) - 1))]
    elif what == "index" and size > 1:
        position = data.draw(st.integers(0, size - 1).filter(lambda other: other != index))
    elif what == "root":
        whole = hashlib.sha256(whole).digest()
    elif what == "leaf":
        leaf = hashlib.sha256(leaf).digest()
    else:
        proof.insert(data.draw(st.integers(0, len(proof))), hashlib.sha256(b"x").digest())
    with pytest.raises(BadProof):
        verify_inclusion(leaf, position, size, proof, whole)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 69))
def test_a_fork_is_never_consistent(old: int, more: int, changed: int) -> None:
    new = old + more
    honest, hashes = MerkleTree(leaves(new)), leaves(new)
    hashes[changed % old] = leaf_hash(b"another")
    forked = MerkleTree(hashes)
    with pytest.raises(BadProof):
        verify_consistency(
            old, honest.root(old), new, forked.root(), forked.consistency_proof(old, new)
        )


def test_nothing_and_everything() -> None:
    assert root([]) == EMPTY_ROOT == hashlib.sha256(b"").digest()
    tree = MerkleTree(leaves(5))
    verify_consistency(0, EMPTY_ROOT, 5, tree.root(), [])
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    for old_root, proof in ((tree.root(), []), (EMPTY_ROOT, [tree.root()])):
        with pytest.raises(BadProof):
            verify_consistency(0, old_root, 5, tree.root(), proof)
    with pytest.raises(BadProof):
        verify_consistency(0, EMPTY_ROOT, 0, tree.root(), [])
    with pytest.raises(BadProof):
        verify_inclusion(tree.leaf(0), 0, 2**70, [], tree.root())
    with pytest.raises(BadProof):
        verify_inclusion(tree.leaf(0), -1, 5, tree.inclusion_proof(0), tree.root())


def test_a_node_does_not_pass_as_a_leaf() -> None:
    """Second preimage: an inner node presented as a leaf of a shorter tree."""
    tree = MerkleTree(leaves(4))
    inner = tree.node(1, 0)
    with pytest.raises(BadProof):
        verify_inclusion(inner, 0, 4, [tree.node(1, 1)], tree.root())
    assert leaf_hash(tree.leaf(0) + tree.leaf(1)) != inner


def test_truncating_undoes_appends_exactly() -> None:
    tree, other = MerkleTree(leaves(40)), MerkleTree(leaves(40)[:21])
    tree.truncate(21)
    assert (tree.size, tree.root()) == (21, other.root())
    for leaf in leaves(40)[21:]:
        tree.append(leaf)
    assert tree.root() == root(leaves(40))
    tree.truncate(0)
    assert tree.root() == EMPTY_ROOT


def test_impossible_requests_are_refused() -> None:
    tree = MerkleTree(leaves(3))
    for call in (
        lambda: tree.root(4),
        lambda: tree.root(-1),
        lambda: tree.inclusion_proof(3),
        lambda: tree.inclusion_proof(0, 4),
        lambda: tree.consistency_proof(3, 2),
        lambda: tree.truncate(4),
    ):
        with pytest.raises(BadParameter):
            call()
    with pytest.raises(BadParameter):
        tree.append(b"short")
