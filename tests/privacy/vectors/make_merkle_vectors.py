"""Write merkle.json: good and bad proofs, from a recursive transcription of RFC 6962 §2.1.

Run from the repository root: `python tests/privacy/vectors/make_merkle_vectors.py`. It shares no
code with `tacit.privacy.merkle`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(d: list[bytes]) -> bytes:
    if not d:
        return h(b"")
    if len(d) == 1:
        return h(b"\0" + d[0])
    k = split(len(d))
    return h(b"\1" + mth(d[:k]) + mth(d[k:]))


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], whole: bool) -> list[bytes]:
    if m == len(d):
        return [] if whole else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], whole), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def hexes(values: list[bytes]) -> list[str]:
    return [value.hex() for value in values]


def main() -> None:
    leaves = [bytes([i]) * (i % 5) for i in range(17)]
    inclusion: list[dict[str, Any]] = []
    good: dict[str, Any]
    broken: list[dict[str, Any]]
    for size in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17):
        d = leaves[:size]
        for index in sorted({0, size // 2, size - 1}):
            good = {
                "leaf": h(b"\0" + d[index]).hex(),
                "index": index,
                "size": size,
                "proof": hexes(path(index, d)),
                "root": mth(d).hex(),
                "valid": True,
            }
            inclusion.append(good)
            proof: list[str] = good["proof"]
            broken = [
                {"index": index + 1},
                {"index": size},
                {"size": 2 * size + 1},
                {"size": 0},
                {"proof": [*proof, "00" * 32]},
                {"proof": proof[:-1] if proof else ["11" * 32]},
                {"proof": proof[::-1] if len(proof) > 1 else ["22" * 32]},
                {"leaf": h(d[index]).hex()},
                {"root": "00" * 32},
                {"leaf": "00" * 31},
            ]
            inclusion.extend(good | bad | {"valid": False} for bad in broken)
    consistency: list[dict[str, Any]] = []
    for old, new in ((1, 2), (1, 17), (2, 3), (3, 4), (4, 8), (6, 8), (7, 9), (8, 17), (15, 16)):
        good = {
            "old_size": old,
            "old_root": mth(leaves[:old]).hex(),
            "new_size": new,
            "new_root": mth(leaves[:new]).hex(),
            "proof": hexes(subproof(old, leaves[:new], True)),
            "valid": True,
        }
        consistency.append(good)
        proof = good["proof"]
        broken = [
            {"old_size": new, "new_size": old},
            {"old_root": good["new_root"], "new_root": good["old_root"]},
            {"old_root": "00" * 32},
            {"new_root": "00" * 32},
            {"proof": [*proof, "00" * 32]},
            {"proof": proof[:-1]},
            {"proof": []},
            {"old_size": 0},
            {"new_size": old},
        ]
        consistency.extend(good | bad | {"valid": False} for bad in broken)
    roots = [{"leaves": hexes(leaves[:n]), "root": mth(leaves[:n]).hex()} for n in range(18)]
    document = {"roots": roots, "inclusion": inclusion, "consistency": consistency}
    target = Path(__file__).with_name("merkle.json")
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
