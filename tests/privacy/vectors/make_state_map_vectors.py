"""Write state_map.json: good and bad proofs, from a recursive definition over strings of bits.

Run from the repository root: `python tests/privacy/vectors/make_state_map_vectors.py`. It shares no
code with `tacit.privacy.state_map`, and hashes every subtree anew for every proof.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

DOMAIN = b"tacit/v1/state-map"


def h(data: bytes) -> bytes:
    return hashlib.sha256(DOMAIN + data).digest()


EMPTY = h(b"\2")


def bits(key: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in key)


def under(prefix: str, entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in entries.items() if bits(key).startswith(prefix)}


def subtree(prefix: str, entries: dict[bytes, bytes]) -> bytes:
    """Hash the subtree at a prefix: nothing, a single entry, or two children."""
    held = under(prefix, entries)
    if not held:
        return EMPTY
    if len(held) == 1:
        ((key, value),) = held.items()
        return h(b"\0" + key + value)
    return h(b"\1" + subtree(prefix + "0", held) + subtree(prefix + "1", held))


def proof(key: bytes, entries: dict[bytes, bytes]) -> bytes:
    """Encode the path to the shortest prefix of `key` that at most one entry has."""
    path = ""
    siblings: list[bytes] = []
    while len(under(path, entries)) > 1:
        bit = bits(key)[len(path)]
        siblings.append(subtree(path + ("1" if bit == "0" else "0"), entries))
        path += bit
    flags = "".join("0" if sibling == EMPTY else "1" for sibling in siblings)
    flags += "0" * (-len(flags) % 8)
    bitmap = bytes(int(flags[i : i + 8], 2) for i in range(0, len(flags), 8))
    held = under(path, entries)
    if not held:
        end = b"\0"
    elif key in held:
        end = b"\1"
    else:
        ((other, value),) = held.items()
        end = b"\2" + other + value
    kept = b"".join(sibling for sibling in siblings if sibling != EMPTY)
    return len(siblings).to_bytes(2, "big") + bitmap + kept + end


def key_of(n: int) -> bytes:
    return hashlib.sha256(b"key %d" % n).digest()


def value_of(n: int) -> bytes:
    return hashlib.sha256(b"value %d" % n).digest()


def case(
    what: str, root: bytes, key: bytes, value: bytes | None, data: bytes, valid: bool
) -> dict[str, Any]:
    return {
        "what": what,
        "root": root.hex(),
        "key": key.hex(),
        "value": None if value is None else value.hex(),
        "proof": data.hex(),
        "valid": valid,
    }


def bad_cases(root: bytes, entries: dict[bytes, bytes]) -> list[dict[str, Any]]:
    # A path that leaves some of its bitmap unused.
    here = next(key for key in entries if proof(key, entries)[1] % 8)
    absent = key_of(1000)
    good, gone = proof(here, entries), proof(absent, entries)
    value = entries[here]
    depth = int.from_bytes(good[:2], "big")
    longer = (depth + 1).to_bytes(2, "big")
    stay = good[2 : 2 + (depth + 7) // 8]
    return [
        case("another value", root, here, value_of(99), good, False),
        case("another root", EMPTY, here, value, good, False),
        case("a present key called absent", root, here, None, good, False),
        case("an absent key given a value", root, absent, value, gone, False),
        case("the proof of another key", root, key_of(12), value_of(12), good, False),
        case("absence with its end cut off", root, absent, None, gone[:-65] + b"\0", False),
        case(
            "absence shown by the very key",
            root,
            here,
            None,
            good[:-1] + b"\2" + here + value,
            False,
        ),
        case("a byte more", root, here, value, good + b"\0", False),
        case("a byte less", root, here, value, good[:-1], False),
        case("no bytes", root, here, value, b"", False),
        case("a level more, beside nothing", root, here, value, longer + stay + good[3:], False),
        case("a depth beyond the key", root, here, value, b"\x01\x01" + good[2:], False),
        case("an end of no kind", root, here, value, good[:-1] + b"\3", False),
        case(
            "a bit in the padding",
            root,
            here,
            value,
            good[:2] + bytes([good[2] | 1]) + good[3:],
            False,
        ),
        case(
            "an empty sibling spelled out",
            h(b"\1" + h(b"\0" + here + value) + EMPTY)
            if bits(here)[0] == "0"
            else h(b"\1" + EMPTY + h(b"\0" + here + value)),
            here,
            value,
            b"\x00\x01\x80" + EMPTY + b"\1",
            False,
        ),
        case("absence in the empty map under another root", root, here, None, b"\0\0\0", False),
    ]


def main() -> None:
    roots: list[dict[str, Any]] = []
    proofs: list[dict[str, Any]] = []
    near = [bytes(31) + bytes([n]) for n in (0, 1, 2, 128)] + [b"\xff" * 32, b"\x80" + bytes(31)]
    for what, keys in (
        ("empty", []),
        ("one", [key_of(0)]),
        ("two", [key_of(0), key_of(1)]),
        ("thirteen", [key_of(n) for n in range(13)]),
        ("long shared prefixes", near),
    ):
        entries = {key: value_of(n) for n, key in enumerate(keys)}
        root = subtree("", entries)
        roots.append(
            {
                "what": what,
                "entries": {key.hex(): value.hex() for key, value in entries.items()},
                "root": root.hex(),
            }
        )
        for key in [*keys, key_of(1000), bytes(31) + b"\3", bytes(32)]:
            value = entries.get(key)
            proofs.append(case(what, root, key, value, proof(key, entries), True))
        if what == "thirteen":
            proofs.extend(bad_cases(root, entries))
    target = Path(__file__).with_name("state_map.json")
    document = {"empty_root": EMPTY.hex(), "roots": roots, "proofs": proofs}
    target.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
