"""Append the record of an audit to the governance log of a ledger, running or stopped."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tacit.privacy.audit import AuditDocument
from tacit.privacy.canonical import canonical_json, parse_canonical
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.signatures import SigningKey
from tacit.server.authn import seal
from tacit.server.errors import LedgerUnavailable
from tacit.server.key_file import read_key_file
from tacit.server.ledger.client import LedgerClient
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.node import LedgerNode, system_time_ms
from tacit.simulations.audit_report import AuditReport
from tacit.simulations.errors import BadExperiment
from tacit.v1 import ledger_pb2

_METHOD = "/tacit.v1.LedgerService/AppendGovernance"
_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class LedgerAccess:
    """How to reach a ledger as its auditor.

    Attributes:
        config: the node's configuration file.
        key: file with the auditor's 32 private bytes in hexadecimal.
        authority: PEM of the authority that vouches for the node's certificate.
    """

    config: Path
    key: Path
    authority: Path


def record_audit(report: AuditReport, access: LedgerAccess) -> int:
    """Append what the governance log is to hold of a report; returns the entry's index.

    The same report again is answered with the first one's index. A node that runs is called; one
    that does not is opened here, under its own lock, with the same checks of key, role and body.

    Raises:
        BadExperiment: the report is of no ledger, or of one that does not verify.
        Refused: the key is not an auditor's, or the ledger is another than the one audited.
        ServerError: the node can neither be called nor opened.
    """
    record = report.record()
    if record.log_size == 0:
        raise BadExperiment("expected a ledger that verifies; there is nothing sound to append to")
    # What the ledger would refuse never leaves here.
    AuditDocument.from_json(parse_canonical(canonical_json(record.to_json())))
    config, key = LedgerConfig.load(access.config), read_key_file(access.key, "auditor key")
    if not config.address.endswith(":0"):
        try:
            with LedgerClient(
                config.address, access.authority.read_bytes(), key, patience_s=_PATIENCE_S
            ) as client:
                return client.append_governance("audit", record.to_json())
        except LedgerUnavailable:
            pass  # it does not run
    return _append_to_stopped(config, key, record)


def _append_to_stopped(config: LedgerConfig, key: SigningKey, record: AuditDocument) -> int:
    node = LedgerNode(config)
    try:
        now_ms = system_time_ms()
        entry = GovernanceEntry.sign("audit", record.to_json(), now_ms, key).to_bytes()
        body = ledger_pb2.AppendGovernanceRequest(entry=entry).SerializeToString()
        request = seal(key, _METHOD, body, now_ms, os.urandom)
        return node.governance.append(
            node.open_entry(_METHOD, request, ledger_pb2.AppendGovernanceRequest)
        )
    finally:
        node.close()
