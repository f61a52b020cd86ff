"""Attacks on a log by whoever runs it: each makes something a verifier must refuse.

The attacker holds the ledger's key: every forged tree is signed anew, and every path in it is the
true one of the forged tree. What it lacks: the witnesses' keys, and what the device remembers.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tacit.privacy.checkpoint import Checkpoint, sign
from tacit.privacy.cosignature import NO_QUORUM, Quorum, Witness, cosign
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.privacy.receipt import Receipt, leaf, verify_receipt
from tacit.privacy.signatures import SigningKey
from tacit.privacy.signed_note import MAX_NOTE_BYTES

ORIGIN = "attacked.example/consent"
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
EVENT = b'{"said":"yes"}'


@dataclass(frozen=True, slots=True)
class World:
    """A log that a device has a receipt from, and what the device remembers of it.

    Attributes:
        data: leaf data; the device's own leaf is the last.
        known: the checkpoint the device remembers, of the whole log.
        receipt: genuine.
    """

    pick: random.Random
    ledger: SigningKey
    witnesses: tuple[SigningKey, ...]
    device_signature: bytes
    commitment_key: bytes
    data: tuple[bytes, ...]
    known: Checkpoint
    receipt: Receipt

    @property
    def quorum(self) -> Quorum:
        return Quorum(
            tuple(
                Witness(f"witness.example/{n}", key.public_key)
                for n, key in enumerate(self.witnesses)
            ),
            len(self.witnesses),
        )

    def verify(self, receipt: Receipt, known: Checkpoint | None, quorum: Quorum) -> None:
        verify_receipt(
            receipt,
            EVENT,
            self.device_signature,
            origin=ORIGIN,
            name=ORIGIN,
            ledger_key=self.ledger.public_key,
            known=known,
            witnesses=quorum,
        )

    def note(self, tree: MerkleTree, size: int | None = None, root: bytes | None = None) -> bytes:
        """Sign whatever is wanted with the ledger's key."""
        checkpoint = Checkpoint(ORIGIN, tree.size if size is None else size, root or tree.root())
        return sign(checkpoint, self.ledger, ORIGIN)


def make_world(pick: random.Random, size: int) -> World:
    """Make a log of `size` leaves whose last is the device's."""
    ledger = SigningKey(pick.randbytes(32))
    witnesses = tuple(SigningKey(pick.randbytes(32)) for _ in range(2))
    signature, commitment_key = pick.randbytes(64), pick.randbytes(32)
    own = leaf(EVENT, signature, commitment_key)
    data = (*(b"\1" + pick.randbytes(32) for _ in range(size - 1)), own)
    tree = MerkleTree(leaf_hash(one) for one in data)
    note = sign(Checkpoint(ORIGIN, size, tree.root()), ledger, ORIGIN)
    text = note.partition(b"\n\n")[0] + b"\n"
    for n, key in enumerate(witnesses):
        note += cosign(text, key, f"witness.example/{n}", 1_700_000_000 + n).to_bytes()
    receipt = Receipt(commitment_key, size - 1, tuple(tree.inclusion_proof(size - 1)), note, ())
    known = Checkpoint(ORIGIN, size, tree.root())
    return World(pick, ledger, witnesses, signature, commitment_key, data, known, receipt)


Attack = Callable[[World], tuple[Receipt, Checkpoint | None, Quorum]]


def _forged(world: World, data: list[bytes], copy_witnesses: bool) -> Any:
    """Sign a forged history with honest paths in it; the device remembers, or has witnesses."""
    if tuple(data[: len(world.data)]) == world.data:
        return world.receipt, world.known, NO_QUORUM  # by chance it is the true history
    tree = MerkleTree(leaf_hash(one) for one in data)
    own = len(data) - 1 - data[::-1].index(world.data[-1])
    note = world.note(tree)
    if copy_witnesses:
        lines = world.receipt.checkpoint.partition(b"\n\n")[2].splitlines(keepends=True)
        note += b"".join(lines[1:])
    proof = tree.consistency_proof(world.known.size) if world.known.size <= tree.size else []
    forged = Receipt(
        world.commitment_key, own, tuple(tree.inclusion_proof(own)), note, tuple(proof)
    )
    return (forged, None, world.quorum) if copy_witnesses else (forged, world.known, NO_QUORUM)


def _rewritten(change: Callable[[World, list[bytes]], None]) -> Attack:
    """Change the history before the device's leaf, and let the log grow after it or not."""

    def attack(world: World) -> Any:
        data = list(world.data[:-1]) or [b"\1" + bytes(32)]
        change(world, data)
        grown = [b"\1" + world.pick.randbytes(32) for _ in range(world.pick.randrange(4))]
        return _forged(world, [*data, world.data[-1], *grown], world.pick.random() < 0.5)

    return attack


def _edit(world: World, data: list[bytes]) -> None:
    data[world.pick.randrange(len(data))] = b"\1" + world.pick.randbytes(32)


def _delete(world: World, data: list[bytes]) -> None:
    del data[world.pick.randrange(len(data))]


def _reorder(world: World, data: list[bytes]) -> None:
    data.append(b"\1" + bytes(32))
    first, second = world.pick.sample(range(len(data)), 2)
    data[first], data[second] = data[second], data[first]


def _duplicate(world: World, data: list[bytes]) -> None:
    at = world.pick.randrange(len(data))
    data.insert(at, data[at])


def _truncate_and_reappend(world: World, data: list[bytes]) -> None:
    kept = world.pick.randrange(len(data))
    data[kept:] = [b"\1" + world.pick.randbytes(32) for _ in range(len(data) - kept + 1)]


def _same_size_fork(world: World) -> Any:
    data = [*world.data[:-1], b"\1" + world.pick.randbytes(32)]
    data[world.pick.randrange(len(data))] = world.data[-1]
    return _forged(world, data, copy_witnesses=False)


def _restored_snapshot(world: World) -> Any:
    """Show the log as it was: genuine, and shorter than what is remembered."""
    later = MerkleTree(leaf_hash(one) for one in world.data)
    for _ in range(world.pick.randrange(1, 5)):
        later.append(leaf_hash(world.pick.randbytes(33)))
    return world.receipt, Checkpoint(ORIGIN, later.size, later.root()), NO_QUORUM


def _second_preimage(world: World) -> Any:
    """Present an inner node as a leaf, or a leaf as an inner node, in a tree of another size."""
    tree = MerkleTree(leaf_hash(one) for one in world.data)
    path = list(world.receipt.inclusion)
    if path and world.pick.random() < 0.5:
        # The leaf stands one level higher than it does.
        shorter = path[1:]
        size = max(1, (tree.size + 1) // 2)
        note = world.note(tree, size)
        index = min(world.receipt.index // 2, size - 1)
        return (
            dataclasses.replace(
                world.receipt, index=index, inclusion=tuple(shorter), checkpoint=note
            ),
            None,
            NO_QUORUM,
        )
    # The root of the true tree as the sibling of the leaf, under it.
    note = world.note(tree, tree.size * 2)
    longer = (*path, tree.root())
    index = world.receipt.index + world.pick.choice((0, tree.size))
    forged = dataclasses.replace(world.receipt, index=index, inclusion=longer, checkpoint=note)
    return forged, None, NO_QUORUM


def _wrong_index(world: World) -> Any:
    size = world.known.size
    wrong = world.pick.choice([n for n in (*range(size), size, 2**62, 2**63 - 1) if n != size - 1])
    return dataclasses.replace(world.receipt, index=wrong), world.known, NO_QUORUM


def _short_or_long_proof(world: World) -> Any:
    path = list(world.receipt.inclusion)
    at = world.pick.randrange(len(path) + 1)
    match world.pick.randrange(4):
        case 0 if path:
            del path[min(at, len(path) - 1)]
        case 1:
            path.insert(at, world.pick.randbytes(32))
        case 2:
            path.insert(at, path[at - 1] if path else bytes(32))
        case _:
            path.insert(at, world.pick.randbytes(world.pick.choice((0, 1, 31, 33, 64))))
    return dataclasses.replace(world.receipt, inclusion=tuple(path)), world.known, NO_QUORUM


def _other_sizes(world: World) -> Any:
    """Sign the true root for another size: 0, 1, and around every power of two."""
    tree = MerkleTree(leaf_hash(one) for one in world.data)
    near = {0, 1, 2**62, *(2**k + d for k in range(1, 62) for d in (-1, 0, 1))} - {tree.size}
    note = world.note(tree, world.pick.choice(sorted(near)))
    proof = tuple(world.pick.randbytes(32) for _ in range(world.pick.randrange(4)))
    forged = dataclasses.replace(
        world.receipt, checkpoint=note, consistency=world.pick.choice([(), proof])
    )
    return forged, world.known, NO_QUORUM


def _key_ids(world: World) -> Any:
    """Leave out, repeat, swap or rename the lines that say who signed."""
    text, _, signed = world.receipt.checkpoint.partition(b"\n\n")
    own, *lines = signed.splitlines(keepends=True)
    match world.pick.randrange(5):
        case 0:  # one witness twice is not two
            lines = [lines[0], lines[0]]
        case 1:  # nobody the verifier knows
            stranger = SigningKey(world.pick.randbytes(32))
            line = cosign(text + b"\n", stranger, "witness.example/1", 1_700_000_000)
            lines = [lines[0], line.to_bytes()]
        case 2:  # a witness's signature under the other's name
            name = lines[0].split(b" ")[1]
            lines = [lines[0], name.join(lines[1].split(b" ")[:1] * 2) + lines[1][-1:]]
        case 3:  # another ledger of the same name
            stranger = SigningKey(world.pick.randbytes(32))
            checkpoint = Checkpoint(ORIGIN, world.known.size, world.known.root)
            own = sign(checkpoint, stranger, ORIGIN).partition(b"\n\n")[2]
        case _:  # the ledger's own line is missing
            own = b""
    note = text + b"\n\n" + own + b"".join(lines)
    return dataclasses.replace(world.receipt, checkpoint=note), None, world.quorum


def _oversized(world: World) -> Any:
    """Bury the note in lines of strangers, or the receipt in hashes."""
    if world.pick.random() < 0.5:
        stranger = SigningKey(world.pick.randbytes(32))
        text = world.receipt.checkpoint.partition(b"\n\n")[0] + b"\n"
        line = cosign(text, stranger, "stranger.example/1", 1).to_bytes()
        note = world.receipt.checkpoint + line * (MAX_NOTE_BYTES // len(line) + 1)
        return dataclasses.replace(world.receipt, checkpoint=note), None, NO_QUORUM
    path = world.receipt.inclusion + (world.pick.randbytes(32),) * world.pick.choice((64, 500))
    return dataclasses.replace(world.receipt, inclusion=path), None, NO_QUORUM


def _bit(world: World) -> Any:
    """Flip one bit of anything in the receipt."""
    values = [
        ("commitment_key", world.receipt.commitment_key),
        ("checkpoint", world.receipt.checkpoint),
        *((n, one) for n, one in enumerate(world.receipt.inclusion)),
    ]
    name, value = world.pick.choice(values)
    changed = bytearray(value)
    changed[world.pick.randrange(len(changed))] ^= 1 << world.pick.randrange(8)
    if isinstance(name, int):
        path = list(world.receipt.inclusion)
        path[name] = bytes(changed)
        return dataclasses.replace(world.receipt, inclusion=tuple(path)), None, world.quorum
    changes: dict[str, Any] = {str(name): bytes(changed)}
    return dataclasses.replace(world.receipt, **changes), None, world.quorum


LOG_ATTACKS: dict[str, Attack] = {
    "edit": _rewritten(_edit),
    "delete": _rewritten(_delete),
    "reorder": _rewritten(_reorder),
    "duplicate": _rewritten(_duplicate),
    "truncate and re-append": _rewritten(_truncate_and_reappend),
    "same-size fork": _same_size_fork,
    "restored snapshot": _restored_snapshot,
    "second preimage leaf/node": _second_preimage,
    "wrong index with a valid path": _wrong_index,
    "short/long proofs": _short_or_long_proof,
    "sizes 0, 1, 2^k±1": _other_sizes,
    "unknown or duplicate key ids": _key_ids,
    "oversized entries": _oversized,
    "one flipped bit": _bit,
}
