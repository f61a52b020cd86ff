"""What moved each account over time: opened, changed, reserved, committed, aborted, released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tacit.privacy import budget as rules
from tacit.privacy.budget import Reservation
from tacit.privacy.budget_changes import Proposal
from tacit.privacy.budget_documents import AbortDocument, CommitDocument, ReserveDocument
from tacit.privacy.budget_standing import AccountStanding
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.release import ReleaseManifest
from tacit.server.budget.accountant import Accountant
from tacit.server.budget.change_summary import summarise
from tacit.server.budget.store import reservation_of
from tacit.server.ledger.config import officers_of
from tacit.server.ledger.keys import PublicKeys
from tacit.server.ledger.replay_accounts import AccountReplay
from tacit.server.ledger.replay_spends import ReplayedSpends


@dataclass(frozen=True, slots=True)
class BudgetStep:
    """One entry of the governance log, and where the account stood after it.

    Attributes:
        index: Position in the governance log.
        recorded_at_ms: Unix milliseconds, as its signer saw them.
        kind: Kind of the entry.
        name: Reservation, release or account it is about; of a change, what it would alter.
        purpose: Purpose of the reservation; empty for other kinds.
        noise_multiplier: z of the reservation; None for other kinds.
        spent_epsilon, spent_epsilon_lower: Lifetime: bounds of everything that counts after it.
        released_epsilon: Lifetime, of what is committed after it.
        window: The window after it.
        window_epsilon: Of what counts in that window.
        cap_epsilon, target_delta, allowed_levels: In force after it.
        alerts: Thresholds that the window reached by it.
        change_sha256: Of an officer's entry, the change; empty for other kinds.
        officers: Who proposed it, then who approved or rejected it.
        reason: What the entry's signer gave as one; empty for kinds without.
    """

    index: int
    recorded_at_ms: int
    kind: str
    name: str
    purpose: str
    noise_multiplier: float | None
    spent_epsilon: float
    spent_epsilon_lower: float
    released_epsilon: float
    window: int
    window_epsilon: float
    cap_epsilon: float
    target_delta: float
    allowed_levels: tuple[str, ...]
    alerts: tuple[float, ...]
    change_sha256: str
    officers: tuple[str, ...]
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return the step as a document."""
        return asdict(self)


def timelines(
    entries: Sequence[GovernanceEntry], keys: PublicKeys, accountant: Accountant
) -> dict[str, tuple[BudgetStep, ...]]:
    """Return account id to its steps, of a log that `replay_governance` found nothing wrong with.

    Raises:
        PrivacyError: An entry is malformed after all.
    """
    timeline = _Timeline(keys, accountant)
    for index, entry in enumerate(entries):
        timeline.entry(index, entry)
    return {name: tuple(some) for name, some in timeline.steps.items()}


@dataclass(frozen=True, slots=True)
class _Event:
    """What an entry is about, before the account's figures are put beside it."""

    account_id: str
    name: str
    moved: Reservation | None = None
    change_sha256: str = ""


class _Timeline:
    def __init__(self, keys: PublicKeys, accountant: Accountant) -> None:
        self.steps: dict[str, list[BudgetStep]] = {}
        self._keys = keys
        self._accountant = accountant
        self._standings: dict[str, AccountStanding] = {}
        self._proposals: dict[str, Proposal] = {}
        self._held: dict[str, list[Reservation]] = {}
        self._spends: dict[str, ReplayedSpends] = {}
        self._account_of_reservation: dict[str, str] = {}
        self._summaries: dict[str, str] = {}
        self._accounts = AccountReplay(
            self._standings,
            self._proposals,
            self._held,
            officers_of(keys.principals),
            keys.identity,
        )

    def entry(self, index: int, entry: GovernanceEntry) -> None:
        event = self._read(entry)
        if event is None:
            return
        standing, spends = self._standings[event.account_id], self._spends_of(event.account_id)
        delta = standing.account.target_delta
        spent = self._accountant.running(spends.lifetime, delta)
        released = self._accountant.running(spends.released, delta)
        window = self._accountant.running(spends.window(standing), delta)
        moved, alerts = event.moved, tuple[float, ...]()
        if moved is not None and entry.kind == "budget.reserve":
            standing = standing.alerted(window.epsilon, moved.reservation_id)
            self._standings[event.account_id] = standing
            alerts = tuple(one.threshold for one in standing.alerts_of(moved.reservation_id))
        self.steps.setdefault(event.account_id, []).append(
            BudgetStep(
                index=index,
                recorded_at_ms=entry.recorded_at_ms,
                kind=entry.kind,
                name=event.name,
                purpose=moved.purpose if moved else "",
                noise_multiplier=moved.events[0].noise_multiplier if moved else None,
                spent_epsilon=spent.epsilon,
                spent_epsilon_lower=spent.epsilon_lower,
                released_epsilon=released.epsilon,
                window=standing.window,
                window_epsilon=window.epsilon,
                cap_epsilon=standing.account.cap_epsilon,
                target_delta=delta,
                allowed_levels=standing.account.allowed_levels,
                alerts=alerts,
                change_sha256=event.change_sha256,
                officers=self._officers(event.change_sha256),
                reason=str(entry.body.get("reason", "")),
            )
        )

    def _read(self, entry: GovernanceEntry) -> _Event | None:
        if entry.kind == "account":
            self._accounts.open(entry)
            account_id = str(entry.body["account_id"])
            return _Event(account_id, account_id)
        if entry.kind.startswith("account."):
            return self._change(entry)
        if entry.kind.startswith("budget."):
            moved = self._moved(entry)
            return _Event(moved.account_id, moved.reservation_id, moved)
        if entry.kind == "release":
            release = ReleaseManifest.from_json(entry.body)
            paid_by = [
                name
                for name, one in self._standings.items()
                if one.account.population == release.population
            ]
            # A population without an account spends nothing.
            name = f"{release.population} {release.version}"
            return _Event(paid_by[0], name) if paid_by else None
        return None

    def _change(self, entry: GovernanceEntry) -> _Event:
        account_id = str(entry.body["account_id"])
        if entry.kind == "account.change":
            digest, before = entry.body_digest().hex(), self._standings[account_id]
            self._accounts.propose(entry)
            self._summaries[digest] = summarise(before, self._proposals[digest].document)
        else:
            digest = str(entry.body["change_sha256"])
            if entry.kind == "account.approval":
                self._accounts.approve(entry)
            else:
                self._accounts.reject(entry)
        return _Event(account_id, self._summaries[digest], change_sha256=digest)

    def _officers(self, change_sha256: str) -> tuple[str, ...]:
        proposal = self._proposals.get(change_sha256)
        if proposal is None:
            return ()
        return tuple(
            officer_name(self._keys, key_id)
            for key_id in (proposal.proposer, proposal.decided_by)
            if key_id
        )

    def _moved(self, entry: GovernanceEntry) -> Reservation:
        if entry.kind == "budget.reserve":
            new = reservation_of(ReserveDocument.from_json(entry.body))
            standing = self._standings[new.account_id]
            self._spends_of(new.account_id).add(new, standing)
            self._account_of_reservation[new.reservation_id] = new.account_id
            return new
        name = str(entry.body["reservation_id"])
        account_id = self._account_of_reservation[name]
        spends = self._spends_of(account_id)
        if entry.kind == "budget.commit":
            commit = CommitDocument.from_json(entry.body)
            moved = rules.commit(spends.get(name), commit.release_sha256)
        else:
            AbortDocument.from_json(entry.body)
            moved = rules.abort(spends.get(name))
        spends.settle(moved, self._standings[account_id])
        return moved

    def _spends_of(self, account_id: str) -> ReplayedSpends:
        found = self._spends.get(account_id)
        if found is None:
            found = ReplayedSpends(self._held[account_id], self._standings[account_id])
            self._spends[account_id] = found
        return found


def officer_name(keys: PublicKeys, key_id: str) -> str:
    """Return the holder of a key as the ledger's keys name it, or the key id itself."""
    principal = keys.principal(key_id)
    return principal.holder if principal else key_id


def summaries(steps: Sequence[BudgetStep]) -> Mapping[str, str]:
    """Return digest of every change proposed in these steps to what it would alter."""
    return {one.change_sha256: one.name for one in steps if one.kind == "account.change"}
