"""Audits as the ledger has them: what was tested, at what power, in the only words there are."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.privacy.audit import AuditDocument
from tacit.server.reports.document import Block, Bullets, Code, Facts, Paragraph, Section, Table
from tacit.server.reports.evidence import VerifiedLedger
from tacit.server.reports.figures import second
from tacit.server.reports.positions import Positions


def audits_section(
    ledger: VerifiedLedger,
    positions: Positions,
    audits: Sequence[AuditDocument],
    none: str,
) -> Section:
    """Show audits with their power; an audit can refute a claim and never confirm one.

    Args:
        ledger: Where they are recorded.
        positions: Of its entries.
        audits: Which to show.
        none: What is said where there are none.
    """
    blocks: list[Block] = [
        Paragraph(
            "An audit looks for evidence against a claim. It can refute one and never confirm "
            "one, so it says at which power it would have seen a violation, and no more."
        )
    ]
    if not audits:
        return Section("Audits", (*blocks, Paragraph(none)))
    for audit in audits:
        blocks += _audit(ledger, positions.audits[audit.report_sha256], audit)
    return Section("Audits", tuple(blocks))


def _audit(ledger: VerifiedLedger, index: int, audit: AuditDocument) -> list[Block]:
    entry = ledger.entries[index]
    name, role = ledger.signer(entry)
    blocks: list[Block] = [
        Facts(
            (
                ("Outcome", audit.statement),
                ("By", f"{name} ({role}), with {audit.tool}"),
                (
                    "Recorded",
                    f"{second(entry.recorded_at_ms)} UTC, entry {index}; of the ledger's first "
                    f"{audit.log_size:,} entries",
                ),
                ("Report", Code(audit.report_sha256)),
            ),
            f"Audit in entry {index}",
        ),
        Table(
            f"What the audit in entry {index} tested",
            (
                ("test", False),
                ("of", False),
                ("violation", False),
                ("false alarm at most", True),
                ("would have seen, with probability", False),
            ),
            tuple(
                (
                    test.name,
                    test.subject,
                    "detected" if test.violation else "none detected",
                    f"{test.false_alarm:.3g}",
                    ", ".join(
                        f"{what}: {chance:.3f}" for what, chance in sorted(test.power.items())
                    )
                    or "exact",
                )
                for test in audit.tests
            ),
            "It tested nothing.",
        ),
    ]
    if audit.findings:
        blocks.append(Bullets(audit.findings))
    return blocks
