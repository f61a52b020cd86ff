"""Receipts of data-subject verbs: what was asked, when, and what came of it; kept for good.

They outlive an erasure: a person can show that they were erased after nothing else is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tacit.client.facts import Facts
from tacit.privacy.canonical import Fields, canonical_json, parse_canonical

_COUNT = "rights/count"
VERBS = ("access", "rectify", "erase", "export", "object", "withdraw")


@dataclass(frozen=True, slots=True)
class RightsReceipt:
    """What a verb answers, and the device keeps.

    Attributes:
        number: 1, 2, 3, …
        verb: one of `VERBS`.
        at_ms: Unix milliseconds.
        pending: whether the ledger has still to learn of it; it is in force on the device already.
        summary: what was done, one line.
        consents: numbers of the decisions it made in the consent chain.
        sha256: hex digest of what was handed out; empty where nothing was.
        statement, signature, leaf_receipt: for an erasure, the ledger's signed statement and the
            proof that the consent log commits to it (see `tacit.privacy.erasure`); else empty.
        retrained: for an erasure, verified proofs of the retrainings that made contributions
            `retrained-exact` since (see `tacit.client.retrainings`); else empty.
    """

    number: int
    verb: str
    at_ms: int
    pending: bool
    summary: str
    consents: tuple[int, ...] = ()
    sha256: str = ""
    statement: str = ""
    signature: str = ""
    leaf_receipt: str = ""
    retrained: str = ""

    def to_bytes(self) -> bytes:
        """Encode for sealing."""
        return canonical_json(
            {
                "number": self.number,
                "verb": self.verb,
                "at_ms": self.at_ms,
                "pending": self.pending,
                "summary": self.summary,
                "consents": [str(seq) for seq in self.consents],
                "sha256": self.sha256,
                "statement": self.statement,
                "signature": self.signature,
                "leaf_receipt": self.leaf_receipt,
                "retrained": self.retrained,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> RightsReceipt:
        """Decode what `to_bytes` wrote and the store authenticated."""
        document = parse_canonical(data)
        fields = Fields(document, "rights receipt")
        return cls(
            number=fields.integer("number", 1),
            verb=fields.text("verb"),
            at_ms=fields.integer("at_ms", 0),
            pending=fields.boolean("pending"),
            summary=fields.text("summary", max_length=1 << 16),
            consents=tuple(int(seq) for seq in fields.texts("consents")),
            sha256=fields.text("sha256"),
            statement=fields.text("statement", max_length=1 << 20),
            signature=fields.text("signature"),
            leaf_receipt=fields.text("leaf_receipt", max_length=1 << 20),
            # Receipts of stores from before there were retrainings lack it.
            retrained=fields.text("retrained", max_length=1 << 24)
            if "retrained" in document
            else "",
        )


class RightsLog:
    """The receipts of one store."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def add(self, receipt: RightsReceipt) -> RightsReceipt:
        """Number a receipt and keep it; on the disk when this returns."""
        number = self.count() + 1
        numbered = replace(receipt, number=number)
        # A kill in between leaves a receipt that the next one replaces; its verb is done all the
        # same, and asking again says so.
        self._facts.put(_fact(number), numbered.to_bytes())
        self._facts.put(_COUNT, b"%d" % number)
        return numbered

    def put(self, receipt: RightsReceipt) -> None:
        """Replace a receipt by what has come of it."""
        self._facts.put(_fact(receipt.number), receipt.to_bytes())

    def count(self) -> int:
        """Count the receipts."""
        content = self._facts.get(_COUNT)
        return 0 if content is None else int(content)

    def entries(self) -> list[RightsReceipt]:
        """Return every receipt, oldest first."""
        found = (self._facts.get(_fact(number)) for number in range(1, self.count() + 1))
        return [RightsReceipt.from_bytes(content) for content in found if content is not None]

    def as_facts(self) -> dict[str, bytes]:
        """Return the receipts as the facts they are, to be carried over an erasure."""
        entries = self.entries()
        kept = {_fact(one.number): one.to_bytes() for one in entries}
        return kept | {_COUNT: b"%d" % len(entries)} if kept else {}


def _fact(number: int) -> str:
    return f"rights/{number}"
