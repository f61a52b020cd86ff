"""The overview and the ledger: is it intact, and what proves an entry?"""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tacit.privacy.checkpoint import stated_checkpoint, verify_checkpoint
from tacit.privacy.cosignature import witnesses_of
from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.merkle import leaf_hash, verify_inclusion
from tacit.server.console.answers import Answer, Download, Page, Redirect, Visit
from tacit.server.console.errors import NotThere
from tacit.server.console.learning_pages import open_reservations
from tacit.server.console.services import Console
from tacit.server.console.snapshot import Snapshot
from tacit.server.console.steady_clock import system_ms
from tacit.server.ledger.contents import LOGS
from tacit.server.ledger.export import write_export
from tacit.server.ledger.log import GOVERNANCE

_SHOWN = 100


@dataclass(frozen=True, slots=True)
class EntryProof:
    """One entry of the governance log, and what shows that it is in it.

    Attributes:
        index: Its place.
        entry: Parsed.
        leaf: Hash of its bytes.
        path: Hashes from its leaf to the root, RFC 6962.
        note: The newest signed checkpoint, over a tree that has it.
        signed_by: Name of its signer.
        findings: What is wrong with signature, checkpoint or proof; empty where nothing is.
    """

    index: int
    entry: GovernanceEntry
    leaf: bytes
    path: tuple[bytes, ...]
    note: str
    signed_by: str
    findings: tuple[str, ...]


def overview_page(console: Console, _visit: Visit) -> Answer:
    """Answer the questions an officer comes with, each in a line that leads further."""
    snapshot = console.snapshots.current()
    now_ms = system_ms()
    pending = [
        (statement, one)
        for statement in snapshot.statements
        for one in statement.proposals
        if one.status(statement.standing, now_ms) == "pending"
    ]
    context = {
        "snapshot": snapshot,
        "pending": pending,
        "verified": console.verified,
        "open_reservations": open_reservations(snapshot),
        "releases": [one for some in snapshot.history.releases.values() for one in some],
        "alerted": [one for one in snapshot.statements if one.reached],
    }
    return Page("overview.html", "Overview", context)


def ledger_page(console: Console, visit: Visit) -> Answer:
    """Show checkpoints, witnesses, the last verification and the newest entries."""
    snapshot = console.snapshots.current()
    last = _page_end(visit, len(snapshot.entries))
    rows = [
        (index, snapshot.entries[index], snapshot.signer(snapshot.entries[index].signer))
        for index in range(last - 1, max(-1, last - 1 - _SHOWN), -1)
    ]
    context = {
        "snapshot": snapshot,
        "verified": console.verified,
        "quorum": console.quorum,
        "logs": [_log(console, snapshot, name) for name in LOGS],
        "rows": rows,
        "older": last - _SHOWN if last > _SHOWN else None,
    }
    return Page("ledger.html", "Ledger", context)


def verify_now(console: Console, _visit: Visit) -> Answer:
    """Verify the whole ledger; the outcome stands on its page."""
    found = console.verify()
    console.snapshots.expire()
    outcome = f"{len(found.findings)} findings" if found.findings else "holds together"
    return Redirect("/verification", detail=outcome)


def verification_page(console: Console, _visit: Visit) -> Answer:
    """Show the last verification, also of a ledger that has no figures."""
    return Page("verification.html", "Verification", {"verified": console.verified})


def entry_page(console: Console, visit: Visit) -> Answer:
    """Show one entry of the governance log with its proof."""
    snapshot = console.snapshots.current()
    proof = entry_proof(snapshot, visit.params["index"])
    return Page("entry.html", f"Entry {proof.index}", {"proof": proof, "snapshot": snapshot})


def checkpoint_file(console: Console, visit: Visit) -> Answer:
    """Give a log's newest signed checkpoint, to hold later histories against."""
    name = visit.params["log"]
    log = console.snapshots.current().contents.logs.get(name)
    if log is None or not log.notes:
        raise NotThere("there is no checkpoint of that log")
    return Download(log.notes[-1], "text/plain; charset=utf-8", f"{name}.checkpoint")


def export_file(console: Console, _visit: Visit) -> Answer:
    """Give everything the ledger published, as `tacit ledger export` writes it, in one archive."""
    contents = console.snapshots.current().contents
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive, "w") as file:
        directory = Path(folder) / "ledger-export"
        write_export(contents, directory)
        for path in sorted(directory.rglob("*")):
            file.write(path, path.relative_to(folder))
    return Download(archive.getvalue(), "application/zip", "ledger-export.zip")


def entry_proof(snapshot: Snapshot, text: str) -> EntryProof:
    """Prove one entry; raises `NotThere` if there is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 12) or (index := int(text)) >= len(
        snapshot.entries
    ):
        raise NotThere("the governance log has no entry of that number")
    contents, entry = snapshot.contents, snapshot.entries[index]
    log, origin = contents.logs[GOVERNANCE], contents.keys.origins[GOVERNANCE]
    tree, leaf = snapshot.trees[GOVERNANCE], leaf_hash(log.entries[index])
    path, findings = tuple(tree.inclusion_proof(index)), list[str]()
    signer = contents.keys.principal(entry.signer)
    try:
        if signer is None:
            findings.append("its signer is none of the ledger's principals")
        else:
            entry.verify(signer.public_key, signer.key_id)
        checkpoint = verify_checkpoint(log.notes[-1], origin, origin, contents.keys.ledger_key)
        verify_inclusion(leaf, index, checkpoint.size, path, checkpoint.root)
    except PrivacyError as error:
        findings.append(str(error))
    note = log.notes[-1].decode("utf-8", "replace")
    return EntryProof(
        index, entry, leaf, path, note, snapshot.signer(entry.signer), tuple(findings)
    )


def _log(console: Console, snapshot: Snapshot, name: str) -> dict[str, object]:
    contents = snapshot.contents
    notes = contents.logs[name].notes
    seen: dict[str, int] = {}
    newest = None
    if notes:
        try:
            newest = stated_checkpoint(notes[-1])
            seen = witnesses_of(notes[-1], console.quorum.witnesses)
        except PrivacyError:
            newest = None  # what is wrong with it, the verification says
    return {
        "name": name,
        "origin": contents.keys.origins[name],
        "size": len(contents.logs[name].entries),
        "checkpoints": len(notes),
        "root": newest.root.hex() if newest else "",
        "seen": seen,
    }


def _page_end(visit: Visit, size: int) -> int:
    text = visit.query.get("before", "")
    return min(int(text), size) if text.isascii() and text.isdigit() and len(text) < 12 else size
