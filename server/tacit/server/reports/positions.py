"""Where in the governance log things stand, so that a report can say which entry shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tacit.privacy.budget_documents import AbortDocument, ReserveDocument
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.release import ReleaseManifest
from tacit.privacy.round_record import RoundRecord
from tacit.privacy.task import TaskManifest


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions of entries by what they are about.

    Attributes:
        accounts: Account id to the entry that opened it.
        tasks: Task digest to the entry that published it.
        reserved, settled: Reservation to the entry that made it, and that committed or aborted it.
        spends: (task digest, round) to the reservations made for it, aborted ones too.
        task_of: Reservation to the digest of the task that it spends for.
        reasons: Aborted reservation to the reason that was given.
        releases: (population, version) to its entry.
        audits: Digest of the report to its entry.
        rounds: (task digest, round) of rounds that spend nothing to their entry.
        notices: (position, notice) in order of publication.
    """

    accounts: dict[str, int] = field(default_factory=dict[str, int])
    tasks: dict[str, int] = field(default_factory=dict[str, int])
    reserved: dict[str, int] = field(default_factory=dict[str, int])
    settled: dict[str, int] = field(default_factory=dict[str, int])
    spends: dict[tuple[str, int], list[str]] = field(
        default_factory=dict[tuple[str, int], list[str]]
    )
    task_of: dict[str, str] = field(default_factory=dict[str, str])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    releases: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    audits: dict[str, int] = field(default_factory=dict[str, int])
    rounds: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    notices: list[tuple[int, NoticeDocument]] = field(
        default_factory=list[tuple[int, NoticeDocument]]
    )

    @classmethod
    def of(cls, entries: Sequence[GovernanceEntry]) -> Positions:
        """Note every entry of a log that verified."""
        found = cls()
        for index, entry in enumerate(entries):
            found._note(index, entry)
        return found

    def _note(self, index: int, entry: GovernanceEntry) -> None:
        body = entry.body
        match entry.kind:
            case "account":
                self.accounts[str(body["account_id"])] = index
            case "task":
                self.tasks[TaskManifest.from_json(body).digest().hex()] = index
            case "budget.reserve":
                document = ReserveDocument.from_json(body)
                name = document.reservation_id
                self.reserved[name] = index
                self.task_of[name] = document.task_sha256
                self.spends.setdefault((document.task_sha256, document.round_id), []).append(name)
            case "budget.commit":
                self.settled[str(body["reservation_id"])] = index
            case "budget.abort":
                self.settled[str(body["reservation_id"])] = index
                self.reasons[str(body["reservation_id"])] = AbortDocument.from_json(body).reason
            case "release":
                release = ReleaseManifest.from_json(body)
                self.releases[release.population, release.version] = index
            case "audit":
                self.audits[str(body["report_sha256"])] = index
            case "round":
                record = RoundRecord.from_json(body)
                self.rounds[record.task_sha256, record.round_id] = index
            case "notice":
                self.notices.append((index, NoticeDocument.from_json(body)))
            case _:
                pass
