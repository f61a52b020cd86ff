"""A ledger that verified, with everything reports are made of: nothing else may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tacit.privacy.cosignature import NO_QUORUM, Quorum
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import MerkleTree, leaf_hash
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.facts import ReleaseFacts, release_facts
from tacit.server.budget.statement import AccountStatement, stated
from tacit.server.ledger.contents import LedgerContents, LogContents
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.replay import GovernanceHistory
from tacit.server.ledger.verification_report import VerificationReport
from tacit.server.ledger.verify import Compose, available_accountant, verify_contents


@dataclass(frozen=True, slots=True)
class VerifiedLedger:
    """What a ledger published and verification let pass; made by `verified` alone.

    Attributes:
        contents: What it published.
        verification: What was re-derived, and with which keys.
        quorum: Witnesses whose cosignatures were demanded; none where nobody was.
        accountant: What composed every figure; it remembers them.
        history: What the entries of the governance log establish.
        statements: One an account, in order of opening.
        entries: The governance log, parsed.
        tree: The Merkle tree over it.
    """

    contents: LedgerContents
    verification: VerificationReport
    quorum: Quorum
    accountant: Accountant
    history: GovernanceHistory
    statements: tuple[AccountStatement, ...]
    entries: tuple[GovernanceEntry, ...]
    tree: MerkleTree

    @property
    def size(self) -> int:
        """Number of entries of the governance log that reports may speak of."""
        return len(self.entries)

    @property
    def note(self) -> bytes:
        """The signed checkpoint of exactly these entries; empty for an empty log."""
        notes = self.contents.logs[GOVERNANCE].notes
        return notes[self.size - 1] if self.size else b""

    def release_facts(self) -> tuple[ReleaseFacts, ...]:
        """Derive the privacy facts of every release, as `tacit budget facts` does."""
        return release_facts(self.contents, self.accountant)

    def as_of(self, end_ms: int) -> VerifiedLedger:
        """Return the ledger as it stood at a moment.

        That is up to and with its last entry recorded before it. Every prefix of a log that
        verified has verified, under the checkpoint of its own size.

        Args:
            end_ms: Unix milliseconds; entries recorded at it or later do not count.
        """
        within = [place for place, one in enumerate(self.entries) if one.recorded_at_ms < end_ms]
        size = within[-1] + 1 if within else 0
        if size == self.size:
            return self
        log = self.contents.logs[GOVERNANCE]
        cut = LogContents(log.entries[:size], log.notes[:size])
        contents = replace(
            self.contents, logs={**self.contents.logs, GOVERNANCE: cut}, map_entries=None
        )
        history, statements = stated(contents, self.accountant)
        return replace(
            self,
            contents=contents,
            history=history,
            statements=statements,
            entries=self.entries[:size],
        )

    def signer(self, entry: GovernanceEntry) -> tuple[str, str]:
        """Return name and role of who signed an entry."""
        principal = self.contents.keys.principal(entry.signer)
        return (principal.holder, principal.role) if principal else (entry.signer, "unknown")


def verified(
    contents: LedgerContents,
    ledger_key: bytes | None = None,
    known: Sequence[bytes] = (),
    witnesses: Quorum = NO_QUORUM,
    directory: Path | None = None,
    compose: Compose | None = None,
) -> VerifiedLedger:
    """Verify a whole ledger for reports, as `tacit ledger verify` does.

    Args:
        contents: What it published.
        ledger_key: As in `verify_contents`.
        known: As in `verify_contents`.
        witnesses: As in `verify_contents`.
        directory: As in `verify_contents`.
        compose: As in `verify_contents`.

    Raises:
        VerificationFailed: With every finding; then there is nothing to report.
    """
    accountant = Accountant(compose or available_accountant())
    report = verify_contents(contents, ledger_key, known, accountant.claim, directory, witnesses)
    history, statements = stated(contents, accountant)
    entries = contents.logs[GOVERNANCE].entries
    return VerifiedLedger(
        contents=contents,
        verification=report,
        quorum=witnesses,
        accountant=accountant,
        history=history,
        statements=statements,
        entries=tuple(GovernanceEntry.parse(data) for data in entries),
        tree=MerkleTree(leaf_hash(data) for data in entries),
    )


def evidence(ledger: LedgerContents | VerifiedLedger) -> VerifiedLedger:
    """Return the ledger verified: as it comes where it was, by `verified` where it was not.

    Raises:
        VerificationFailed: As `verified`.
    """
    return ledger if isinstance(ledger, VerifiedLedger) else verified(ledger)
