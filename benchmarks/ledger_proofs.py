"""What proofs cost over a million leaves, beside pymerkle where it is installed, and their size.

Mutations: receipts with three witnesses, each changed at one random place, held to verification.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ledger_appends import ORIGINS, chain

from tacit.privacy.checkpoint import Checkpoint, sign, stated_checkpoint
from tacit.privacy.cosignature import Quorum, Witness, cosign
from tacit.privacy.errors import PrivacyError
from tacit.privacy.merkle import MerkleTree, leaf_hash, verify_consistency, verify_inclusion
from tacit.privacy.receipt import Receipt, leaf, verify_receipt
from tacit.privacy.signatures import SigningKey

ORIGIN = ORIGINS["consent"]


@dataclass(frozen=True, slots=True)
class ProofCosts:
    """Costs over a tree of `leaves` leaves.

    Attributes:
        leaves: how many.
        rebuild_s, rebuild_cpu_s: from leaf data to the root; by the clock, and of CPU time.
        inclusion_us, consistency_us: median time to verify one proof.
        path_bytes: size of an inclusion path.
        oracle_inclusion_us, oracle_consistency_us: pymerkle's verification of proofs of a tree of
            `oracle_leaves` in the same run, whose root agrees; None where it is not installed.
        receipt_bytes: a receipt with three Ed25519 witnesses: commitment key, index, path,
            cosigned checkpoint.
    """

    leaves: int
    rebuild_s: float
    rebuild_cpu_s: float
    inclusion_us: float
    consistency_us: float
    path_bytes: int
    oracle_leaves: int
    oracle_inclusion_us: float | None
    oracle_consistency_us: float | None
    receipt_bytes: int


def median_us(work: Callable[[int], object], count: int = 400) -> float:
    """Return the median CPU microseconds of a call, which is given its number."""
    taken: list[float] = []
    for number in range(count):
        began = time.thread_time_ns()
        work(number)
        taken.append((time.thread_time_ns() - began) / 1e3)
    return statistics.median(taken)


def measure_proofs(leaves: int, progress: Callable[[str], None]) -> tuple[ProofCosts, Issued]:
    """Build a tree of so many leaves and verify proofs of it; returns a receipt from it, too."""
    issued = Issued()
    progress(f"building a tree of {leaves:,} leaves")
    data = [hashlib.sha256(b"%d" % n).digest() + b"\1" for n in range(leaves - 1)] + [issued.leaf]
    began_s, used_s = time.perf_counter(), time.process_time()
    tree = MerkleTree(leaf_hash(one) for one in data)
    root = tree.root()
    rebuild_s, used_s = time.perf_counter() - began_s, time.process_time() - used_s
    issued.issue(tree)
    pick = random.Random(1)
    indices = [pick.randrange(leaves) for _ in range(400)]
    paths = [tree.inclusion_proof(index) for index in indices]
    progress("verifying proofs")

    def include(n: int) -> None:
        verify_inclusion(leaf_hash(data[indices[n]]), indices[n], leaves, paths[n], root)

    olds = [pick.randrange(1, leaves) for _ in range(400)]
    roots = [tree.root(old) for old in olds]
    proofs = [tree.consistency_proof(old) for old in olds]

    def extend(n: int) -> None:
        verify_consistency(olds[n], roots[n], leaves, root, proofs[n])

    oracle_leaves = min(leaves, 4096)
    oracle = _oracle(data[:oracle_leaves], tree.root(oracle_leaves))
    costs = ProofCosts(
        leaves=leaves,
        rebuild_s=rebuild_s,
        rebuild_cpu_s=used_s,
        inclusion_us=median_us(include),
        consistency_us=median_us(extend),
        path_bytes=max(sum(map(len, path)) for path in paths),
        oracle_leaves=oracle_leaves,
        oracle_inclusion_us=oracle and oracle[0],
        oracle_consistency_us=oracle and oracle[1],
        receipt_bytes=issued.receipt_bytes(),
    )
    return costs, issued


def _oracle(data: list[bytes], root: bytes) -> tuple[float, float] | None:
    if importlib.util.find_spec("pymerkle") is None:
        return None
    pymerkle: Any = importlib.import_module("pymerkle")
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for one in data:
        tree.append_entry(one)
    if tree.get_state() != root:
        raise RuntimeError("pymerkle has another root")
    size, pick = len(data), random.Random(2)
    some = [pick.randrange(1, size) for _ in range(100)]
    paths = [tree.prove_inclusion(index, size) for index in some]
    bases = [tree.get_leaf(index) for index in some]
    proofs = [tree.prove_consistency(old, size) for old in some]
    states = [tree.get_state(old) for old in some]
    return (
        median_us(lambda n: pymerkle.verify_inclusion(bases[n], root, paths[n]), 100),
        median_us(lambda n: pymerkle.verify_consistency(states[n], root, proofs[n]), 100),
    )


class Issued:
    """A receipt with three witnesses, and what it takes to verify it."""

    def __init__(self) -> None:
        self.ledger, device = SigningKey.generate(os.urandom), SigningKey.generate(os.urandom)
        self.witness_keys = [SigningKey.generate(os.urandom) for _ in range(3)]
        self.quorum = Quorum(
            tuple(
                Witness(f"witness.example/w{n}", key.public_key)
                for n, key in enumerate(self.witness_keys)
            ),
            3,
        )
        self.signed = chain(device, 1)[0]
        self.commitment_key = os.urandom(32)
        self.leaf = leaf(self.signed.event, self.signed.signature, self.commitment_key)

    def issue(self, tree: MerkleTree) -> None:
        """Sign the tree, whose last leaf is this one; an earlier state of it is what is known."""
        size = tree.size
        note = sign(Checkpoint(ORIGIN, size, tree.root()), self.ledger, ORIGIN)
        text = note.partition(b"\n\n")[0] + b"\n"
        for one, key in zip(self.quorum.witnesses, self.witness_keys, strict=True):
            note += cosign(text, key, one.name, int(time.time())).to_bytes()
        known = max(1, size // 3)
        self.known = Checkpoint(ORIGIN, known, tree.root(known))
        self.receipt = Receipt(
            self.commitment_key,
            size - 1,
            tuple(tree.inclusion_proof(size - 1)),
            note,
            tuple(tree.consistency_proof(known)),
        )

    def receipt_bytes(self) -> int:
        """Return the size of all that proves the leaf is under a witnessed checkpoint."""
        path = sum(map(len, self.receipt.inclusion))
        return len(self.receipt.commitment_key) + 8 + path + len(self.receipt.checkpoint)

    def verify(self, receipt: Receipt) -> None:
        """Verify as a device does; raises where it does not hold."""
        verify_receipt(
            receipt, self.signed.event, self.signed.signature, origin=ORIGIN, name=ORIGIN,
            ledger_key=self.ledger.public_key, known=self.known, witnesses=self.quorum,
        )  # fmt: skip


def accepted_mutations(issued: Issued, count: int, progress: Callable[[str], None]) -> int:
    """Change a receipt at one random place so many times; returns how many still verify."""
    issued.verify(issued.receipt)
    pick, accepted, began_s = random.Random(os.urandom(8)), 0, time.monotonic()
    for number in range(count):
        if time.monotonic() - began_s > 5:
            progress(f"mutations: {number:,} of {count:,}")
            began_s = time.monotonic()
        mutant = _mutant(issued.receipt, pick)
        try:
            issued.verify(mutant)
        except PrivacyError:
            continue
        # Base64 has spare bits, and a changed one of a witness's time is another true statement
        # only if its signature verifies; neither may pass.
        accepted += mutant != issued.receipt
    return accepted


def _mutant(receipt: Receipt, pick: random.Random) -> Receipt:
    field = pick.choice(("commitment_key", "index", "inclusion", "checkpoint", "consistency"))
    value = getattr(receipt, field)
    if field == "index":
        size = stated_checkpoint(receipt.checkpoint).size
        return dataclasses.replace(receipt, index=(value + pick.randrange(1, size)) % size)
    if isinstance(value, bytes):
        return dataclasses.replace(receipt, **{field: _bent(value, pick)})
    path: list[bytes] = list(value)
    at = pick.randrange(len(path))
    match pick.randrange(4):
        case 0:
            path[at] = _bent(path[at], pick)
        case 1:
            del path[at]
        case 2:
            path.insert(at, path[at])
        case _:
            other = (at + pick.randrange(1, len(path))) % len(path)
            path[at], path[other] = path[other], path[at]
    return dataclasses.replace(receipt, **{field: tuple(path)})


def _bent(value: bytes, pick: random.Random) -> bytes:
    changed = bytearray(value)
    changed[pick.randrange(len(changed))] ^= 1 << pick.randrange(8)
    return bytes(changed)
