"""Proofs that entries stand in the governance log, in a form that other tools verify."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from tacit.privacy.signed_note import split_note, verifier_key
from tacit.server.ledger.log import CONSENT, GOVERNANCE
from tacit.server.reports.document import Block, Code, Facts, Listing, Paragraph, Section, Text
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import plural, second

_FORMAT = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class EntryProof:
    """Proof that one entry stands at its place under a signed checkpoint.

    Attributes:
        index: Its position.
        leaf_hash: 32 bytes, SHA-256 of a zero byte and the entry (RFC 6962, 2.1).
        path: Audit path to the checkpoint's root.
        note: The checkpoint, signed by the ledger, with the cosignatures it has.
    """

    index: int
    leaf_hash: bytes
    path: tuple[bytes, ...]
    note: bytes

    @classmethod
    def of(cls, ledger: VerifiedLedger, index: int) -> EntryProof:
        """Prove an entry under the checkpoint of the whole log.

        Raises:
            BadParameter: There is no such entry.
        """
        path = ledger.tree.inclusion_proof(index, ledger.size)
        return cls(index, ledger.tree.leaf(index), tuple(path), ledger.note)

    def text(self) -> str:
        """Return the proof as https://c2sp.org/tlog-proof has it."""
        path = "".join(f"{base64.b64encode(one).decode()}\n" for one in self.path)
        return f"{_FORMAT}\nindex {self.index}\n{path}\n{self.note.decode('utf-8')}"


def verification_section(
    ledger: VerifiedLedger,
    heading: str,
    commands: str,
    proven: tuple[tuple[str, int], ...] = (),
    *,
    with_figures: bool = True,
    beside: str = "",
) -> Section:
    """Say what was verified for the report, and how to do it again without trusting it.

    Args:
        ledger: What verified.
        heading: Of the section.
        commands: What Tacit's own tools re-derive it with, one a line.
        proven: (what it is, position) of the entries to prove.
        with_figures: Whether the report shows figures; one of what spends nothing has none.
        beside: What of the report does not come from the log; empty for nothing.
    """
    keys, report = ledger.contents.keys, ledger.verification
    rows: list[tuple[str, Text | list[Text]]] = [
        ("Ledger", Code(keys.origins[GOVERNANCE])),
        ("Its key", [Code(report.ledger_key), _pinned(ledger)]),
        ("Verifier key", Code(verifier_key(keys.origins[GOVERNANCE], keys.ledger_key))),
        ("Entries", _entries(ledger)),
        ("Root", Code(ledger.tree.root(ledger.size).hex())),
        ("Witnesses", _witnesses(ledger)),
        ("Re-derived", _rederived(ledger, with_figures)),
    ]
    blocks: list[Block] = [
        Paragraph(
            (f"Except for {beside}, this" if beside else "This")
            + " report was made from the ledger's entries alone, after both logs, every signature "
            "and every figure had been verified as follows."
        ),
        Facts(tuple(rows)),
        Paragraph(
            "To verify it without trusting this report or whoever handed it over: ask the "
            "controller for an export of the ledger, compare its key and its newest checkpoint "
            "with what a witness or a device remembers, and run"
        ),
        Listing("With Tacit, offline", commands),
        Paragraph(
            "Without Tacit: checkpoints are C2SP signed notes, logs are RFC 6962 Merkle trees, the "
            "export is C2SP tlog-tiles. An entry's leaf hash is SHA-256 of one zero byte and the "
            "entry's bytes"
            + ("; the hashes below lead from it to the checkpoint's root." if proven else ".")
        ),
    ]
    for name, index in proven:
        proof = EntryProof.of(ledger, index)
        blocks.append(
            Listing(
                f"Proof that {name} is entry {index} ({_FORMAT}); leaf hash "
                f"{proof.leaf_hash.hex()}",
                proof.text(),
            )
        )
    if not proven and ledger.size:
        blocks.append(
            Listing("The checkpoint of these entries, as signed", ledger.note.decode("utf-8"))
        )
    return Section(heading, tuple(blocks))


def _pinned(ledger: VerifiedLedger) -> str:
    if ledger.verification.ledger_key_pinned:
        return "known beforehand to whoever made this report"
    return "not known beforehand: the export named it itself; compare it with another source"


def _entries(ledger: VerifiedLedger) -> str:
    report = ledger.verification
    beyond = report.governance_size - ledger.size
    later = f"; {plural(beyond, 'later entry', 'later entries')} not considered" if beyond else ""
    newest = (
        f", the newest of {second(ledger.entries[-1].recorded_at_ms)} UTC" if ledger.size else ""
    )
    consent = ledger.contents.keys.origins[CONSENT]
    leaves = plural(report.consent_size, "leaf", "leaves")
    return f"{ledger.size:,}{newest}{later}. {consent}: {leaves}"


def _witnesses(ledger: VerifiedLedger) -> str:
    if not ledger.quorum.witnesses:
        others = _cosigners(ledger)
        beside = (
            f". Cosignatures in the name of {', '.join(others)} stand on the checkpoint; no key "
            "was given to check them with"
            if others
            else ""
        )
        return (
            "none was demanded: that nobody was shown another history rests on comparing "
            f"checkpoints{beside}"
        )
    counts = ", ".join(
        f"{name} cosigned {count:,} checkpoints"
        for name, count in ledger.verification.witnesses.items()
    )
    return (
        f"{ledger.quorum.threshold} of {len(ledger.quorum.witnesses)} demanded for the newest "
        f"checkpoints: {counts}"
    )


def _rederived(ledger: VerifiedLedger, with_figures: bool) -> str:
    report = ledger.verification
    figures = f"; every ε by {report.accountant}" if with_figures and report.accounts else ""
    known = (
        f", {plural(report.known_checkpoints, 'more from elsewhere', 'more from elsewhere')}"
        if report.known_checkpoints
        else ""
    )
    return (
        f"both roots, {plural(report.checkpoints, 'signed checkpoint')}{known}, every signature "
        f"and rule{figures}"
    )


def _cosigners(ledger: VerifiedLedger) -> list[str]:
    """Return the names on the newest checkpoint beside the ledger's own."""
    if not ledger.size:
        return []
    own = ledger.contents.keys.origins[GOVERNANCE]
    return [one.name for one in split_note(ledger.note)[1] if one.name != own]
