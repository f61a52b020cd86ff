"""A sparse Merkle tree over 256-bit keys: one root that answers "what is the value of this key?".

Construction (CONIKS: Melara et al., USENIX Security 2015, §3.1; Jellyfish: Gao, Hu, Wu 2021): a
binary trie over the bits of the key, most significant first. A subtree with no entry is the
constant `EMPTY_ROOT`, a subtree with one entry is that entry's leaf, so paths end at the shortest
prefix no other key has: about log2(n) + 1 siblings for uniformly distributed keys.

    leaf   SHA-256("tacit/v1/state-map" ‖ 0x00 ‖ key ‖ value)
    node   SHA-256("tacit/v1/state-map" ‖ 0x01 ‖ left ‖ right)
    empty  SHA-256("tacit/v1/state-map" ‖ 0x02)

Guarantee: under a collision-resistant hash no root has both a proof that a key has a value and a
proof that it has another or none. The bits of the key fix the path, and the three domains keep
where a path ends (nothing, this key, another key) from being passed off as one another. What the
root does not say is who put the entries there; whoever publishes roots signs them.

A proof is u16 depth ‖ bitmap ‖ siblings ‖ end. Siblings go from the root down; those that are
`EMPTY_ROOT` are left out, their bit in the bitmap (most significant bit first) is 0. The end is
0x00 (nothing), 0x01 (this key) or 0x02 ‖ key ‖ value (another key). Every proof has one encoding.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tacit.privacy.errors import BadParameter, BadProof

KEY_BYTES = 32
VALUE_BYTES = 32
MAX_DEPTH = 256
MAX_PROOF_BYTES = 2 + 32 + MAX_DEPTH * 32 + 1 + KEY_BYTES + VALUE_BYTES

_HASH_BYTES = 32
_DOMAIN = b"tacit/v1/state-map"
_LEAF, _NODE = _DOMAIN + b"\x00", _DOMAIN + b"\x01"
EMPTY_ROOT = hashlib.sha256(_DOMAIN + b"\x02").digest()
"""Root of the map without entries, and of every subtree without any."""

_NOTHING, _THIS_KEY, _OTHER_KEY = 0, 1, 2


def leaf_hash(key: bytes, value: bytes) -> bytes:
    """Hash one entry."""
    return hashlib.sha256(_LEAF + key + value).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children into their parent."""
    return hashlib.sha256(_NODE + left + right).digest()


class _Leaf:
    __slots__ = ("hash", "key", "value")

    def __init__(self, key: bytes, value: bytes) -> None:
        self.key, self.value = key, value
        self.hash = leaf_hash(key, value)


class _Node:
    __slots__ = ("hash", "left", "right")

    def __init__(self, left: _Tree, right: _Tree) -> None:
        self.left, self.right = left, right
        self.hash = node_hash(_hash(left), _hash(right))


_Tree = _Node | _Leaf | None


class StateMap:
    """An immutable map; `updated` shares with the old one whatever did not change.

    Building from n entries costs about 2.5 n hashes for uniformly distributed keys, an update or a
    proof O(log n).
    """

    __slots__ = ("_size", "_tree")

    def __init__(self, entries: Mapping[bytes, bytes] | None = None) -> None:
        """Build from key → value, 32 bytes each.

        Raises:
            BadParameter: if a key or a value is not 32 bytes.
        """
        _check_entries(entries or {})
        leaves = [_Leaf(key, value) for key, value in sorted((entries or {}).items())]
        self._tree: _Tree = _build(leaves, 0, len(leaves), 0)
        self._size = len(leaves)

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._size

    @property
    def root(self) -> bytes:
        """The 32-byte root."""
        return _hash(self._tree)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None for none."""
        end = self._walk(key)[1]
        return end.value if end is not None and end.key == key else None

    def updated(self, changes: Mapping[bytes, bytes | None]) -> StateMap:
        """Return the map with some keys set, or removed where the value is None.

        Raises:
            BadParameter: if a key or a value is not 32 bytes.
        """
        _check_entries(changes)
        result = StateMap()
        result._tree, grown = _update(self._tree, sorted(changes.items()), 0)
        result._size = self._size + grown
        return result

    def prove(self, key: bytes) -> bytes:
        """Prove what the map says of a key: its value, or that it has none.

        Raises:
            BadParameter: if the key is not 32 bytes.
        """
        siblings, end = self._walk(key)
        return encode_proof(siblings, key, None if end is None else (end.key, end.value))

    def _walk(self, key: bytes) -> tuple[list[bytes], _Leaf | None]:
        _check_entries({key: None})
        siblings: list[bytes] = []
        tree = self._tree
        while isinstance(tree, _Node):
            right = _bit(key, len(siblings))
            siblings.append(_hash(tree.left if right else tree.right))
            tree = tree.right if right else tree.left
        return siblings, tree


def encode_proof(siblings: Sequence[bytes], key: bytes, end: tuple[bytes, bytes] | None) -> bytes:
    """Encode the path of `key`: siblings from the root down, and the entry it ends at, if any."""
    depth = len(siblings)
    bitmap = bytearray((depth + 7) // 8)
    for level, sibling in enumerate(siblings):
        if sibling != EMPTY_ROOT:
            bitmap[level >> 3] |= 0x80 >> (level & 7)
    if end is None:
        last = bytes([_NOTHING])
    elif end[0] == key:
        last = bytes([_THIS_KEY])
    else:
        last = bytes([_OTHER_KEY]) + end[0] + end[1]
    held = b"".join(sibling for sibling in siblings if sibling != EMPTY_ROOT)
    return struct.pack(">H", depth) + bytes(bitmap) + held + last


def verify_value(root: bytes, key: bytes, value: bytes, proof: bytes) -> None:
    """Verify that the map with this root gives `key` exactly this value.

    Raises:
        BadProof: if it does not, or the proof is malformed or not in its one encoding.
    """
    if len(key) != KEY_BYTES or len(value) != VALUE_BYTES:
        raise BadProof(f"expected a key and a value of {KEY_BYTES} bytes")
    path = _parse(proof)
    if path.end != _THIS_KEY:
        raise BadProof("expected a proof that the key is in the map, got one that it is not")
    _fold(root, key, leaf_hash(key, value), path)


def verify_absence(root: bytes, key: bytes, proof: bytes) -> None:
    """Verify that the map with this root has no entry for `key`.

    Raises:
        BadProof: if it may have one, or the proof is malformed or not in its one encoding.
    """
    if len(key) != KEY_BYTES:
        raise BadProof(f"expected a key of {KEY_BYTES} bytes")
    path = _parse(proof)
    if path.end == _THIS_KEY:
        raise BadProof("expected a proof that the key is not in the map, got one that it is")
    if path.end == _NOTHING:
        _fold(root, key, EMPTY_ROOT, path)
        return
    if path.other_key == key:
        raise BadProof("the proof ends at the key it should show to be absent")
    depth = len(path.siblings)
    if any(_bit(path.other_key, level) != _bit(key, level) for level in range(depth)):
        raise BadProof("the proof ends at an entry that does not lie on the key's path")
    _fold(root, key, leaf_hash(path.other_key, path.other_value), path)


@dataclass(frozen=True, slots=True)
class _Path:
    """A parsed proof: siblings from the root down, and where the path ends."""

    siblings: tuple[bytes, ...]
    end: int
    other_key: bytes
    other_value: bytes


def _parse(proof: bytes) -> _Path:
    if not 3 <= len(proof) <= MAX_PROOF_BYTES:
        raise BadProof(f"expected a proof of 3 to {MAX_PROOF_BYTES} bytes, got {len(proof)}")
    (depth,) = struct.unpack(">H", proof[:2])
    if depth > MAX_DEPTH:
        raise BadProof(f"expected a path of at most {MAX_DEPTH} levels, got {depth}")
    position = 2 + (depth + 7) // 8
    bitmap = int.from_bytes(proof[2:position], "big")
    padding = -depth % 8
    if len(proof) <= position or bitmap & ((1 << padding) - 1):
        raise BadProof("expected a bitmap of the path's length, its unused bits 0")
    bitmap >>= padding
    siblings: list[bytes] = []
    for level in range(depth):
        if bitmap >> (depth - 1 - level) & 1:
            sibling = proof[position : position + _HASH_BYTES]
            position += _HASH_BYTES
            if sibling == EMPTY_ROOT:
                raise BadProof("expected the siblings of empty subtrees to be left out")
            siblings.append(sibling)
        else:
            siblings.append(EMPTY_ROOT)
    rest = proof[position:]
    end = rest[0] if rest else -1
    expected = {_NOTHING: 1, _THIS_KEY: 1, _OTHER_KEY: 1 + KEY_BYTES + VALUE_BYTES}
    if expected.get(end) != len(rest):
        raise BadProof("expected the proof to end in 0x00, in 0x01, or in 0x02 and an entry")
    if siblings and siblings[-1] == EMPTY_ROOT:
        # An entry, or nothing, beside nothing stands one level higher.
        raise BadProof("expected a path that ends beside something")
    return _Path(tuple(siblings), end, rest[1:33], rest[33:])


def _fold(root: bytes, key: bytes, end: bytes, path: _Path) -> None:
    value = end
    for level in range(len(path.siblings) - 1, -1, -1):
        sibling = path.siblings[level]
        value = node_hash(sibling, value) if _bit(key, level) else node_hash(value, sibling)
    if value != root:
        raise BadProof("the proof does not lead to the stated root")


def _bit(key: bytes, level: int) -> int:
    return key[level >> 3] >> (7 - (level & 7)) & 1


def _hash(tree: _Tree) -> bytes:
    return EMPTY_ROOT if tree is None else tree.hash


def _join(left: _Tree, right: _Tree) -> _Tree:
    if left is None and not isinstance(right, _Node):
        return right
    if right is None and not isinstance(left, _Node):
        return left
    return _Node(left, right)


def _build(leaves: Sequence[_Leaf], start: int, end: int, depth: int) -> _Tree:
    """Build the subtree of `leaves[start:end]`, which are sorted and share `depth` bits."""
    if end - start <= 1:
        return leaves[start] if end > start else None
    split = bisect_left(leaves, 1, start, end, key=lambda leaf: _bit(leaf.key, depth))
    return _join(_build(leaves, start, split, depth + 1), _build(leaves, split, end, depth + 1))


def _update(
    tree: _Tree, changes: Sequence[tuple[bytes, bytes | None]], depth: int
) -> tuple[_Tree, int]:
    """Apply sorted changes that share `depth` bits; returns the subtree and its growth."""
    if not changes:
        return tree, 0
    if isinstance(tree, _Node):
        split = bisect_left(changes, 1, key=lambda change: _bit(change[0], depth))
        left, grown_left = _update(tree.left, changes[:split], depth + 1)
        right, grown_right = _update(tree.right, changes[split:], depth + 1)
        return _join(left, right), grown_left + grown_right
    held = {} if tree is None else {tree.key: tree}
    before = len(held)
    for key, value in changes:
        if value is None:
            held.pop(key, None)
        else:
            held[key] = _Leaf(key, value)
    leaves = [held[key] for key in sorted(held)]
    return _build(leaves, 0, len(leaves), depth), len(leaves) - before


def _check_entries(entries: Mapping[bytes, bytes | None]) -> None:
    for key, value in entries.items():
        if len(key) != KEY_BYTES or (value is not None and len(value) != VALUE_BYTES):
            raise BadParameter(f"expected keys and values of {KEY_BYTES} bytes")
