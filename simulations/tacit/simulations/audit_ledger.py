"""The ledger's part of an audit: verify it offline, and read what its tasks planned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tacit.privacy.errors import PrivacyError
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.task import RoundPlan, TaskManifest
from tacit.server.errors import VerificationFailed
from tacit.server.ledger.contents import read_database, read_export
from tacit.server.ledger.database import DATABASE_FILE
from tacit.server.ledger.keys import KEYS_FILE
from tacit.server.ledger.log import GOVERNANCE
from tacit.server.ledger.verify import verify_export


@dataclass(frozen=True, slots=True)
class LedgerResult:
    """What a deployment's ledger showed.

    Attributes:
        path: what was verified.
        log_size, log_root: of the governance log; 0 and empty where it does not verify.
        tasks: what it planned; `verify` holds every reserved multiplier to them.
        releases: (population, version) of each release derived again.
        findings: what does not verify.
    """

    path: str
    log_size: int
    log_root: str
    tasks: tuple[TaskManifest, ...]
    releases: tuple[tuple[str, int], ...]
    findings: tuple[str, ...]

    @property
    def plans(self) -> tuple[RoundPlan, ...]:
        """Collect the rounds that its tasks planned."""
        return tuple(plan for task in self.tasks for plan in task.rounds)

    def to_json(self) -> dict[str, object]:
        """Return it as a document."""
        return {
            "path": self.path,
            "log_size": self.log_size,
            "log_root": self.log_root,
            "tasks": [
                {"task_id": task.task_id, "task_sha256": task.digest().hex()} for task in self.tasks
            ],
            "releases": [{"population": name, "version": n} for name, n in self.releases],
            "plans": [plan.to_json() for plan in self.plans],
            "findings": list(self.findings),
        }


def ledger_of(state: Path) -> Path:
    """Return where the ledger is: in a demo's state its node's database, else its export."""
    if state.is_dir() and not (state / KEYS_FILE).is_file():
        if (state / "ledger" / DATABASE_FILE).is_file():
            return state / "ledger"
        if (state / "ledger-export").is_dir():
            return state / "ledger-export"
    return state


def ledger_result(state: Path) -> LedgerResult:
    """Verify a deployment's ledger offline, and read the rounds that its tasks planned."""
    path = ledger_of(state)
    try:
        report = verify_export(path)
        is_export = path.is_dir() and not (path / DATABASE_FILE).exists()
        contents = read_export(path) if is_export else read_database(path)
        # A running node may have gone on since: what was verified is what is told of.
        verified = contents.logs[GOVERNANCE].entries[: report.governance_size]
        entries = [GovernanceEntry.parse(data) for data in verified]
        tasks = [TaskManifest.from_json(one.body) for one in entries if one.kind == "task"]
    except VerificationFailed as error:
        return LedgerResult(str(path), 0, "", (), (), error.findings)
    except PrivacyError as error:
        return LedgerResult(str(path), 0, "", (), (), (str(error),))
    return LedgerResult(
        str(path),
        report.governance_size,
        report.governance_root,
        tuple(tasks),
        tuple((one.population, one.version) for one in report.releases),
        (),
    )
