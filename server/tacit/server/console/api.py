"""The JSON API: what the pages show, for programs. It reads; nothing is changed through it."""

from __future__ import annotations

import json

from tacit.server.budget.timeline import summaries
from tacit.server.console.answers import Answer, Document, Visit
from tacit.server.console.budget_pages import change_of, statement_of
from tacit.server.console.consent_coverage import STEP, Count, consent_coverage
from tacit.server.console.errors import NotThere
from tacit.server.console.learning_pages import task_status
from tacit.server.console.ledger_pages import entry_proof
from tacit.server.console.openapi import description
from tacit.server.console.plan_pages import plan
from tacit.server.console.services import Console
from tacit.server.console.steady_clock import system_ms

_SHOWN = 1000


def openapi(_console: Console, visit: Visit) -> Answer:
    """Describe this API."""
    return Document(description(visit.origin))


def ledger(console: Console, _visit: Visit) -> Answer:
    """State the logs' sizes, the ledger's key and the last verification."""
    snapshot = console.snapshots.current()
    found = console.verified
    return Document(
        {
            "ledger_key": snapshot.contents.keys.ledger_key.hex(),
            "read_at_ms": snapshot.read_at_ms,
            "logs": [
                {
                    "name": name,
                    "origin": snapshot.contents.keys.origins[name],
                    "size": len(log.entries),
                    "checkpoint": log.notes[-1].decode("utf-8", "replace") if log.notes else None,
                }
                for name, log in snapshot.contents.logs.items()
            ],
            "verification": None
            if found is None
            else {
                "at_ms": found.at_ms,
                "ok": not found.findings,
                "findings": list(found.findings),
                "report": found.report and _plain(found.report.to_json()),
            },
        }
    )


def entry(console: Console, visit: Visit) -> Answer:
    """Give one entry of the governance log with its proof."""
    proof = entry_proof(console.snapshots.current(), visit.params["index"])
    return Document(
        {
            "index": proof.index,
            "entry": json.loads(proof.entry.to_bytes()),
            "signed_by": proof.signed_by,
            "leaf_hash": proof.leaf.hex(),
            "inclusion_proof": [one.hex() for one in proof.path],
            "checkpoint": proof.note,
            "ok": not proof.findings,
            "findings": list(proof.findings),
        }
    )


def accounts(console: Console, _visit: Visit) -> Answer:
    """State every budget account."""
    snapshot = console.snapshots.current()
    return Document({"accounts": [_plain(one.to_json()) for one in snapshot.statements]})


def account(console: Console, visit: Visit) -> Answer:
    """State one budget account."""
    statement = statement_of(console.snapshots.current(), visit.params["account"])
    return Document(_plain(statement.to_json()))


def history(console: Console, visit: Visit) -> Answer:
    """List what moved an account, and where it stood after."""
    statement = statement_of(console.snapshots.current(), visit.params["account"])
    return Document(
        {
            "account_id": statement.account.account_id,
            **_plain(statement.context()),
            "steps": [_plain(step.to_json()) for step in statement.steps],
        }
    )


def change(console: Console, visit: Visit) -> Answer:
    """Give one proposed change and what became of it."""
    statement, proposal = change_of(console.snapshots.current(), visit.params["change"])
    return Document(
        {
            "sha256": proposal.sha256,
            "account_id": statement.account.account_id,
            "what": summaries(statement.steps)[proposal.sha256],
            "reason": proposal.document.reason,
            "status": proposal.status(statement.standing, system_ms()),
            "proposed_by": statement.officers[proposal.proposer],
            "decided_by": statement.officers.get(proposal.decided_by),
            "expires_at_ms": proposal.document.expires_at_ms,
        }
    )


def tasks(console: Console, _visit: Visit) -> Answer:
    """List every task with where it stands."""
    snapshot = console.snapshots.current()
    return Document(
        {
            "tasks": [
                {
                    "sha256": digest,
                    "status": task_status(snapshot, digest, one),
                    "manifest": one.to_json(),
                }
                for digest, one in snapshot.history.tasks.items()
            ]
        }
    )


def task(console: Console, visit: Visit) -> Answer:
    """Give one task with where it stands."""
    snapshot, digest = console.snapshots.current(), visit.params["task"]
    one = snapshot.history.tasks.get(digest)
    if one is None:
        raise NotThere("there is no task of that digest in this ledger")
    status = task_status(snapshot, digest, one)
    return Document({"sha256": digest, "status": status, "manifest": one.to_json()})


def releases(console: Console, _visit: Visit) -> Answer:
    """Give the privacy facts of every release."""
    cards = console.snapshots.current().cards
    return Document({"releases": [_plain(card.to_json()) for card in cards]})


def consent(console: Console, _visit: Visit) -> Answer:
    """Give the numbers of devices by purpose and signal, rounded as on the page."""
    covered = consent_coverage(console.config.source)
    if covered is None:
        return Document({"step": STEP, "coverage": None})
    return Document(
        {
            "step": STEP,
            "coverage": {
                "enrolled": _count(covered.enrolled),
                "by_purpose": [
                    {"purpose": purpose, "devices": _count(count)}
                    for purpose, count in covered.by_purpose.items()
                ],
                "by_signal": [
                    {"purpose": purpose, "signal": signal, "devices": _count(count)}
                    for (purpose, signal), count in covered.by_signal.items()
                ],
            },
        }
    )


def audits(console: Console, _visit: Visit) -> Answer:
    """List every audit on record."""
    return Document(
        {"audits": [one.to_json() for one in console.snapshots.current().history.audits]}
    )


def planned(console: Console, visit: Visit) -> Answer:
    """Answer a what-if question; nothing is spent."""
    return Document(_plain(plan(console, console.snapshots.current(), visit.query)))


def people(console: Console, _visit: Visit) -> Answer:
    """List everyone who has an account."""
    return Document(
        {
            "people": [
                {
                    "name": one.name,
                    "role": str(one.role),
                    "enabled": one.enabled,
                    "key_id": one.key_id or None,
                }
                for one in console.people.everyone()
            ]
        }
    )


def accesses(console: Console, _visit: Visit) -> Answer:
    """Give the newest entries of the access log, newest first."""
    return Document(
        {
            "entries": [
                {"sequence": sequence, **json.loads(one.to_bytes())}
                for sequence, one in console.log.latest(_SHOWN)
            ]
        }
    )


def _count(count: Count) -> int | None:
    """Return the number that is told; None for one that is not."""
    return count.at_least or None


def _plain(document: object) -> dict[str, object]:
    """Return the document as JSON reads it back: tuples and mappings of ours become its own."""
    plain: dict[str, object] = json.loads(json.dumps(document, default=dict))
    return plain
