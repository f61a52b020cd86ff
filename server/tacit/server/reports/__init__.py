"""Reports for the privacy officer and for regulators, generated from a ledger, never typed.

    contents ──verified──▶ VerifiedLedger ──deployment_card──▶ Document ──to_html()──▶ page
                                          └─quarterly_review─▶          └─to_pdf()───▶ PDF

A ledger that does not verify has no reports. Equal ledgers and dates give equal documents.
"""

from tacit.server.reports.card import deployment_card
from tacit.server.reports.consent_coverage import (
    ConsentCoverage,
    read_consent_coverage,
    read_node_coverage,
)
from tacit.server.reports.document import Document
from tacit.server.reports.evidence import VerifiedLedger, verified
from tacit.server.reports.period import Period
from tacit.server.reports.quarter import quarterly_review

__all__ = [
    "ConsentCoverage",
    "Document",
    "Period",
    "VerifiedLedger",
    "deployment_card",
    "quarterly_review",
    "read_consent_coverage",
    "read_node_coverage",
    "verified",
]
