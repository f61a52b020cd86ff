from __future__ import annotations

from pathlib import Path

import pytest

from tacit.privacy.errors import BadDocument, BadParameter, BadProof
from tacit.privacy.tiles import read_entries, tile_path, tile_paths, verify_tiles, write_tiles


def test_paths_are_the_published_ones() -> None:
    assert tile_path(0, 0, 256) == "tile/0/000"
    assert tile_path(1, 1234067, 256) == "tile/1/x001/x234/067"
    assert tile_path(None, 273, 112) == "tile/entries/273.p/112"
    for level, index, width in ((64, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(BadParameter):
            tile_path(level, index, width)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 70_000])
def test_a_log_reads_back(tmp_path: Path, size: int) -> None:
    entries = [index.to_bytes(3, "big") for index in range(size)]
    tree = write_tiles(tmp_path, entries)
    assert read_entries(tmp_path, size) == entries
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert files == set(tile_paths(size))
    assert verify_tiles(tmp_path, tree) == sum("entries" not in path for path in files)
    if size == 70_000:
        # The C2SP example of this size: 273 full tiles and a partial one, then one and a partial.
        assert {"tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"} <= files


def test_damage_is_found(tmp_path: Path) -> None:
    entries = [bytes([index]) * index for index in range(20)]
    tree = write_tiles(tmp_path, entries)
    bundle, hashes = tmp_path / "tile/entries/000.p/20", tmp_path / "tile/0/000.p/20"
    for damaged in (bundle.read_bytes()[:-1], bundle.read_bytes() + b"\0", b""):
        original = bundle.read_bytes()
        bundle.write_bytes(damaged)
        with pytest.raises(BadDocument):
            read_entries(tmp_path, 20)
        bundle.write_bytes(original)
    content = bytearray(hashes.read_bytes())
    content[100] ^= 1
    hashes.write_bytes(content)
    with pytest.raises(BadProof):
        verify_tiles(tmp_path, tree)
    hashes.write_bytes(content[:-1])
    with pytest.raises(BadDocument):
        verify_tiles(tmp_path, tree)
    hashes.unlink()
    with pytest.raises(BadDocument):
        verify_tiles(tmp_path, tree)
    with pytest.raises(BadParameter):
        write_tiles(tmp_path, [b"x" * 65_536])
