"""RFC 6962 Merkle trees: roots, inclusion proofs, consistency proofs.

Hashing follows RFC 6962 §2.1 (leaf prefix 0x00, node prefix 0x01, no padding), proofs follow its
§2.1.1 and §2.1.2, verification the iterative algorithms of RFC 9162 §2.1.3.2 and §2.1.4.2. A proof
is accepted only if its length is exactly what the two sizes imply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from tacit.privacy.errors import BadParameter, BadProof

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""

MAX_SIZE = 2**62
"""Sizes beyond this are refused before any arithmetic is done with them."""


def leaf_hash(data: bytes) -> bytes:
    """Hash the data of one leaf (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children into their parent (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """Grow a tree in memory, keeping the hash of every complete subtree.

    Level 0 holds the leaf hashes, level `l` the roots of complete subtrees of `2**l` leaves; these
    never change once written. Appending costs O(1) hashes on average, roots and proofs O(log n),
    rebuilding from `n` leaf hashes O(n). Not thread-safe: its owner holds a lock.
    """

    __slots__ = ("_levels",)

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        nodes = list(leaf_hashes)
        for value in nodes:
            _check_leaf(value)
        self._levels = [nodes]
        # A level at a time: a node that starts with a million leaves builds this before it serves.
        while len(nodes) > 1:
            nodes = [node_hash(*pair) for pair in zip(nodes[::2], nodes[1::2], strict=False)]
            self._levels.append(nodes)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """Append one leaf hash (32 bytes) and return its index.

        Raises:
            BadParameter: if `leaf` is not 32 bytes.
        """
        _check_leaf(leaf)
        index = self.size
        self._levels[0].append(leaf)
        level = 0
        while len(self._levels[level]) % 2 == 0:
            left, right = self._levels[level][-2:]
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node_hash(left, right))
        return index

    def truncate(self, size: int) -> None:
        """Forget every leaf from `size` on: undoes appends whose transaction failed.

        Raises:
            BadParameter: if the tree has fewer leaves than `size`.
        """
        self._check_size(size)
        for level, nodes in enumerate(self._levels):
            del nodes[size >> level :]
        while len(self._levels) > 1 and not self._levels[-1]:
            self._levels.pop()

    def leaf(self, index: int) -> bytes:
        """Return the leaf hash at `index`."""
        self._check_size(index + 1)
        return self._levels[0][index]

    def node(self, level: int, index: int) -> bytes:
        """Return the root of the complete subtree of `2**level` leaves at `index`."""
        self._check_size((index + 1) << level)
        return self._levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first `size` leaves (all of them by default)."""
        size = self.size if size is None else size
        self._check_size(size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the audit path of leaf `index` in the tree of `size` leaves (RFC 6962 §2.1.1).

        Raises:
            BadParameter: unless 0 <= index < size <= self.size.
        """
        size = self.size if size is None else size
        self._check_size(size)
        if not 0 <= index < size:
            raise BadParameter(f"expected an index in [0, {size}), got {index}")
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            split = start + _split(end - start)
            if index < split:
                path.append(self._range(split, end))
                end = split
            else:
                path.append(self._range(start, split))
                start = split
        return path[::-1]

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Prove that the first `old` leaves are a prefix of the first `new` (RFC 6962 §2.1.2).

        The proof is empty when `old` is 0 or equal to `new`.

        Raises:
            BadParameter: unless 0 <= old <= new <= self.size.
        """
        new = self.size if new is None else new
        self._check_size(new)
        if not 0 <= old <= new:
            raise BadParameter(f"expected an old size in [0, {new}], got {old}")
        if old in (0, new):
            return []
        path: list[bytes] = []
        start, end, whole = 0, new, True
        while old != end:
            split = start + _split(end - start)
            if old <= split:
                path.append(self._range(split, end))
                end = split
            else:
                path.append(self._range(start, split))
                start, whole = split, False
        if not whole:
            path.append(self._range(start, end))
        return path[::-1]

    def _range(self, start: int, end: int) -> bytes:
        # `start` is always a multiple of the largest power of two <= end - start, so every
        # complete subtree met on the way down is stored.
        size = end - start
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self._levels[level][start >> level]
        split = start + _split(size)
        return node_hash(self._range(start, split), self._range(split, end))

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise BadParameter(f"expected a size in [0, {self.size}], got {size}")


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes; `EMPTY_ROOT` for none."""
    return MerkleTree(leaf_hashes).root()


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int, size: int) -> list[bytes]:
    """Return the audit path of one leaf; see `MerkleTree.inclusion_proof`."""
    return MerkleTree(leaf_hashes).inclusion_proof(index, size)


def consistency_proof(leaf_hashes: Sequence[bytes], old: int, new: int) -> list[bytes]:
    """Prove that one tree extends another; see `MerkleTree.consistency_proof`."""
    return MerkleTree(leaf_hashes).consistency_proof(old, new)


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes
) -> None:
    """Verify that `leaf` (a leaf hash) stands at `index` of the tree (RFC 9162 §2.1.3.2).

    Raises:
        BadProof: if it does not, or if the proof has the wrong length for `index` and `size`.
    """
    _check_hashes(leaf, root_hash, *proof)
    if not 0 <= index < size <= MAX_SIZE:
        raise BadProof(f"expected an index below the tree size, got {index} of {size}")
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise BadProof(f"the inclusion proof is too long for leaf {index} of {size}")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise BadProof(f"the inclusion proof is too short for leaf {index} of {size}")
    if value != root_hash:
        raise BadProof(f"leaf {index} is not in the tree of {size} leaves with the stated root")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Verify that the new tree extends the old one (RFC 9162 §2.1.4.2).

    Everything extends the empty tree, whose root must be `EMPTY_ROOT`.

    Raises:
        BadProof: if it does not, if `old_size > new_size`, or if the proof has the wrong length.
    """
    _check_hashes(old_root, new_root, *proof)
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise BadProof(f"expected a tree of at least {old_size} leaves, got {new_size}")
    if old_size in (0, new_size):
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if proof or old_root != expected or (new_size == 0 and new_root != EMPTY_ROOT):
            raise BadProof(f"the trees of {old_size} and {new_size} leaves do not agree")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise BadProof(f"the consistency proof from {old_size} to {new_size} is empty")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_value = new_value = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise BadProof(f"the consistency proof from {old_size} to {new_size} is too long")
        if position & 1 or position == last:
            old_value = node_hash(sibling, old_value)
            new_value = node_hash(sibling, new_value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new_value = node_hash(new_value, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise BadProof(f"the consistency proof from {old_size} to {new_size} is too short")
    if old_value != old_root or new_value != new_root:
        raise BadProof(f"the tree of {new_size} leaves does not extend the one of {old_size}")


def _split(size: int) -> int:
    """Return the largest power of two strictly below `size` (>= 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_leaf(value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise BadParameter(f"expected a {HASH_BYTES}-byte leaf hash, got {len(value)} bytes")


def _check_hashes(*values: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in values):
        raise BadProof(f"expected {HASH_BYTES}-byte hashes throughout the proof")
