"""Export a log as static files in the C2SP tlog-tiles layout, and read it back.

Layout: https://c2sp.org/tlog-tiles. `tile/<L>/<N>` holds up to 256 hashes of tree level 8·L,
`tile/entries/<N>` up to 256 entries, each preceded by its length as a big-endian u16. `<N>` is
written in groups of three digits (`x001/x234/067`); a tile that is not full ends in `.p/<width>`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from tacit.privacy.errors import BadDocument, BadParameter, BadProof
from tacit.privacy.merkle import HASH_BYTES, MerkleTree, leaf_hash

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_ENTRY_BYTES = 65_535


def tile_path(level: int | None, index: int, width: int) -> str:
    """Return the relative path of a hash tile, or of an entry bundle when `level` is None.

    Raises:
        BadParameter: unless level is in [0, 63], index >= 0 and width in [1, 256].
    """
    if (level is not None and not 0 <= level <= 63) or index < 0 or not 1 <= width <= TILE_WIDTH:
        raise BadParameter("expected a tile level in [0, 63], an index >= 0, a width in [1, 256]")
    groups = [f"{index % 1000:03d}"]
    rest = index // 1000
    while rest:
        groups.insert(0, f"x{rest % 1000:03d}")
        rest //= 1000
    kind = "entries" if level is None else str(level)
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{kind}/{'/'.join(groups)}{partial}"


def write_tiles(directory: Path, entries: Sequence[bytes]) -> MerkleTree:
    """Write all hash tiles and entry bundles of a log under `directory`.

    Returns:
        The tree over the entries.

    Raises:
        BadParameter: if an entry exceeds 65,535 bytes.
    """
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise BadParameter(f"expected entries of at most {MAX_ENTRY_BYTES} bytes")
    tree = MerkleTree(leaf_hash(entry) for entry in entries)
    for index, start, width in _tiles(tree.size):
        bundle = b"".join(struct.pack(">H", len(e)) + e for e in entries[start : start + width])
        _write(directory / tile_path(None, index, width), bundle)
    for level, nodes in _levels(tree.size):
        for index, start, width in _tiles(nodes):
            hashes = [tree.node(level * TILE_HEIGHT, start + i) for i in range(width)]
            _write(directory / tile_path(level, index, width), b"".join(hashes))
    return tree


def read_entries(directory: Path, size: int) -> list[bytes]:
    """Read the first `size` entries back from their bundles.

    Raises:
        BadDocument: if a bundle is missing, too short, too long or unreadable.
    """
    entries: list[bytes] = []
    for index, _, width in _tiles(size):
        path = tile_path(None, index, width)
        data, position = _read(directory, path), 0
        for _ in range(width):
            header = data[position : position + 2]
            length = struct.unpack(">H", header)[0] if len(header) == 2 else 0
            entry = data[position + 2 : position + 2 + length]
            if len(header) != 2 or len(entry) != length:
                raise BadDocument(f"{path}: expected {width} entries, the bundle ends early")
            entries.append(entry)
            position += 2 + length
        if position != len(data):
            raise BadDocument(f"{path}: expected {width} entries, got further bytes")
    return entries


def verify_tiles(directory: Path, tree: MerkleTree) -> int:
    """Verify that every hash tile holds what the tree over the entries says.

    Returns:
        The number of hash tiles read.

    Raises:
        BadDocument: if a tile is missing or has the wrong size.
        BadProof: if a tile holds another hash.
    """
    count = 0
    for level, nodes in _levels(tree.size):
        for index, start, width in _tiles(nodes):
            path = tile_path(level, index, width)
            data = _read(directory, path)
            if len(data) != width * HASH_BYTES:
                raise BadDocument(f"{path}: expected {width * HASH_BYTES} bytes, got {len(data)}")
            expected = b"".join(
                tree.node(level * TILE_HEIGHT, start + offset) for offset in range(width)
            )
            if data != expected:
                raise BadProof(f"{path}: the tile's hashes are not those of the entries")
            count += 1
    return count


def tile_paths(size: int) -> Iterator[str]:
    """Yield the relative path of every file that `write_tiles` makes for a log of this size."""
    for index, _, width in _tiles(size):
        yield tile_path(None, index, width)
    for level, nodes in _levels(size):
        for index, _, width in _tiles(nodes):
            yield tile_path(level, index, width)


def _levels(size: int) -> Iterator[tuple[int, int]]:
    level = 0
    while nodes := size >> (level * TILE_HEIGHT):
        yield level, nodes
        level += 1


def _tiles(nodes: int) -> Iterator[tuple[int, int, int]]:
    for start in range(0, nodes, TILE_WIDTH):
        yield start // TILE_WIDTH, start, min(TILE_WIDTH, nodes - start)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _read(directory: Path, path: str) -> bytes:
    try:
        return (directory / path).read_bytes()
    except OSError as error:
        raise BadDocument(f"{path}: cannot be read ({error.strerror})") from None
